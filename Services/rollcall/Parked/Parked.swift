import ArgumentParser
import Contracts
import Foundation
import Kafka
import Postgres

struct Parked: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List, show and replay what services put aside.",
        discussion: """
            A record that cannot be read, or that contradicts our rows, is unreadable; an event of a delivery without a \
            row is late. The projector keeps both in tables with everything needed to put them back. The other services \
            put theirs on \(Topic.deadLetters.name), which is read when ROLLCALL_KAFKA_BOOTSTRAP is set.
            """,
        subcommands: [List.self, Show.self, Replay.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List what is parked and was not replayed, oldest first.",
            discussion: "Columns: when it was parked, kind, by whom, id, reason.")

        @OptionGroup var filter: ParkedFilter
        @Flag(help: "One JSON object a line.") var json = false

        func run() async throws {
            let records = try await Parked.withSource { source, _ in
                try await source.list(filter, limit: filter.limit ?? ParkedFilter.listMax)
            }
            for record in records {
                Terminal.say(json ? try record.json(headers: nil, withContent: false) : record.line)
            }
            if !json { Terminal.complain("\(records.count) parked") }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show parked records with their octets, made safe for a terminal.")

        @Argument(help: "Ids, as 'rollcall parked list' prints them.") var ids: [String]
        @Flag(help: "One JSON object a line, octets in base64.") var json = false

        func run() async throws {
            try await Parked.withSource { source, surroundings in
                for (index, record) in try await source.find(ids).enumerated() {
                    let headers = try await headers(of: record, surroundings)
                    if json {
                        Terminal.say(try record.json(headers: headers, withContent: true))
                    } else {
                        if index > 0 { Terminal.say("") }
                        for line in record.page(headers: headers) { Terminal.say(line) }
                    }
                }
            }
        }

        private func headers(of record: ParkedRecord, _ surroundings: Surroundings) async throws -> [KafkaHeader]? {
            if let headers = record.headers { return headers }
            guard let place = record.place else { return nil }
            return try await TopicScan(kafka: try surroundings.kafka()).record(at: place)?.headers
        }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Put parked records back on their topic.",
            discussion: """
                With the same key, value and headers, and the header \(ParkedReplay.header) that says where the record \
                stood. Doing it twice is the same as doing it once. What this version still cannot read, and an event \
                whose delivery still has no row, is refused with the reason and stays parked. Exit code 1 when something \
                was refused.
                """)

        @Argument(help: "Ids, as 'rollcall parked list' prints them.") var ids: [String] = []
        @Flag(help: "Everything that the filters let pass, instead of ids.") var all = false
        @OptionGroup var filter: ParkedFilter
        @Flag(help: "Say what would happen and do nothing.") var dryRun = false
        @OptionGroup var actor: ActorOption

        func validate() throws {
            guard all != !ids.isEmpty else { throw ValidationError("Give ids, or --all.") }
        }

        func run() async throws {
            let refused = try await Parked.withSource { source, surroundings in
                let records = try await all ? source.list(filter, limit: filter.limit) : source.find(ids)
                let kafka = try surroundings.kafka()
                let producer = try KafkaProducer(kafka, messageTimeout: .seconds(30))
                // Two operators at once do one after the other.
                _ = try await source.connection.query("SELECT pg_advisory_lock(hashtext('rollcall.parked.replay'))")
                let replay = ParkedReplay(
                    connection: source.connection, scan: TopicScan(kafka: kafka), producer: producer,
                    actor: actor.name)
                do {
                    let refused = try await replayAll(records, source, replay)
                    if !dryRun { try await replay.forgetOldMarks() }
                    await producer.close(timeout: .seconds(5))
                    return refused
                } catch {
                    await producer.close(timeout: .seconds(5))
                    throw error
                }
            }
            guard refused == 0 else { throw Failure("\(refused) refused; they stay parked") }
        }

        private func replayAll(
            _ records: [ParkedRecord], _ source: ParkedSource, _ replay: ParkedReplay
        ) async throws -> Int {
            var refused = 0
            for record in records {
                let record = try await source.withContent(record)
                let words: String
                switch try await replay.replay(record, isDry: dryRun) {
                case .replayed: words = "replayed"
                case .possible: words = "would be replayed"
                case .already(let earlier):
                    words =
                        "was replayed already, \(Timestamp.string(microseconds: earlier.atMicroseconds)) by "
                        + earlier.actor
                case .refused(let reason):
                    words = "refused: \(reason)"
                    refused += 1
                }
                Terminal.say(Terminal.escaped("\(record.id)  \(words)"))
            }
            return refused
        }
    }

    private static func withSource<Value: Sendable>(
        _ body: (ParkedSource, Surroundings) async throws -> Value
    ) async throws -> Value {
        let surroundings = Surroundings()
        let kafka = surroundings.value("ROLLCALL_KAFKA_BOOTSTRAP") == nil ? nil : try surroundings.kafka()
        if kafka == nil {
            Terminal.complain("ROLLCALL_KAFKA_BOOTSTRAP is not set: only what the projector parked is seen")
        }
        return try await surroundings.withOwner { connection in
            try await body(ParkedSource(connection: connection, kafka: kafka), surroundings)
        }
    }
}
