import Contracts
import Delivery
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Screens the chunks that the sender asks for. What was decided is published by ``ChunkReporter``.
struct ScreeningService: Service {
    let loop: ConsumerLoop
    let screen: ChunkScreen
    let parking: Parking
    let wake: Wake
    let metrics: GuardMetrics

    func run() async throws {
        var sink = ScreeningSink(service: self)
        try await loop.run(&sink)
    }
}

private struct ScreeningSink: RecordSink {
    let service: ScreeningService
    private var cluster = ""
    private var metrics: GuardMetrics { service.metrics }

    init(service: ScreeningService) { self.service = service }

    mutating func open(cluster: String) async throws { self.cluster = cluster }

    mutating func apply(_ records: [ConsumerRecord]) async throws {
        var chunks: [ChunkKey] = []
        var seen: Set<ChunkKey> = []
        for record in records {
            do throws(ContractError) {
                let message = try ChunkMessage(value: record.value ?? [], header: record.header)
                guard message.stage == .requested else { throw ContractError("is no request") }
                let key = ChunkKey(blast: message.blast, number: message.chunkNumber)
                if seen.insert(key).inserted { chunks.append(key) }
            } catch {
                metrics.refused(service.loop.name)
                try await service.parking.park(record, of: cluster, reason: error.reason)
            }
        }
        for chunk in chunks { try await screen(chunk) }
    }

    private func screen(_ chunk: ChunkKey) async throws {
        let metadata: Logger.Metadata = ["blast": "\(chunk.blast)", "chunk": "\(chunk.number)"]
        let begin = ContinuousClock.now
        do {
            switch try await service.screen.screen(chunk) {
            case .screened(let recipients, let excluded):
                FaultPoint.reach("guard.after-screen")
                service.wake.signal()
                metrics.screenSeconds.observe(ContinuousClock.now - begin)
                metrics.screened.increment(by: recipients)
                for (fact, count) in excluded { metrics.decided(fact, count) }
            case .repeated:
                service.wake.signal()
            case .unknown:
                metrics.refused(service.loop.name)
                service.loop.logger.warning("asked to screen a chunk that does not exist", metadata: metadata)
            }
        } catch let error as PostgresError where error.refusesValues {
            // The sender asks again as long as the chunk is not cleared, so the others need not wait for this one.
            metrics.refused(service.loop.name)
            service.loop.logger.error("cannot screen a chunk", error: error, metadata: metadata)
        }
    }
}
