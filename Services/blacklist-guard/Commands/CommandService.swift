import Contracts
import Kafka
import Logging
import Postgres
import Runtime
import ServiceLifecycle

/// Carries out the commands that staff give through the report API or the operator's tool.
struct CommandService: Service {
    let loop: ConsumerLoop
    let ledger: CommandLedger
    let parking: Parking
    let wake: Wake
    let metrics: GuardMetrics

    func run() async throws {
        var sink = CommandSink(service: self)
        try await loop.run(&sink)
    }
}

private struct CommandSink: RecordSink {
    let service: CommandService
    private var cluster = ""

    init(service: CommandService) { self.service = service }

    mutating func open(cluster: String) async throws { self.cluster = cluster }

    mutating func apply(_ records: [ConsumerRecord]) async throws {
        for record in records {
            do {
                let command = try Command(value: record.value ?? [], header: record.header)
                guard let outcome = try await service.ledger.carryOut(command) else { continue }
                service.metrics.changes.increment()
                service.wake.signal()
                service.loop.logger.info(
                    "carried out a command",
                    metadata: ["command": "\(command.id)", "kind": "\(command.kind.rawValue)", "outcome": "\(outcome)"])
            } catch let error as ContractError {
                try await refuse(record, error.reason)
            } catch let error as CommandLedger.Refusal {
                try await refuse(record, error.reason)
            } catch let error as PostgresError where error.refusesValues && error.sqlState != "23505" {
                // A violated key is the same command at another guard at this moment; the next try finds it done.
                try await refuse(record, "the database refuses its values")
            }
        }
    }

    private func refuse(_ record: ConsumerRecord, _ reason: String) async throws {
        service.metrics.refused(service.loop.name)
        service.loop.logger.warning(
            "a command cannot be carried out",
            metadata: ["reason": "\(reason)", "offset": "\(record.topicPartition)@\(record.offset)"])
        try await service.parking.park(record, of: cluster, reason: reason)
    }
}
