import ArgumentParser
import Contracts
import Kafka
import Postgres

struct Rebuild: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Project the event history a second time and compare.",
        discussion: """
            'start' makes tables of its own for a second projection and copies the live ones at their offsets. A \
            status-projector with ROLLCALL_PROJECTOR_PROJECTION=NAME then projects the topic from offset 0 up to there; it \
            may be killed and started again, and several share the work. 'watch' shows how far it is, 'compare' compares \
            by hash and names what differs, 'drop' removes it all. Readers and topics never see it.
            """,
        subcommands: [Start.self, Watch.self, Compare.self, List.self, Drop.self])

    struct Name: ParsableArguments {
        @Argument(help: "The second projection's name: \(ProjectionName.rule).") var name: ProjectionName

        func validate() throws {
            guard !name.isLive else {
                throw ValidationError("\(name) is no name for a second projection: everybody reads it.")
            }
        }

        func existing(_ connection: PostgresConnection) async throws -> RebuildSchema {
            let schema = RebuildSchema(name: name, connection: connection)
            guard try await schema.exists() else {
                throw Failure("there is no second projection \(name); make it with 'rollcall rebuild start \(name)'")
            }
            return schema
        }
    }

    struct Start: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the tables, and copy the live ones for the comparison.",
            discussion: """
                Refuses when the event history restarted or the topic no longer begins at offset 0: then nothing can be \
                rebuilt. Needs as much room as the live tables twice.
                """)

        @OptionGroup var second: Name

        func run() async throws {
            let surroundings = Surroundings()
            try await surroundings.withOwner { connection in
                let schema = RebuildSchema(name: second.name, connection: connection)
                guard try await !schema.exists() else {
                    throw Failure(
                        "\(second.name) exists already; compare it, or remove it with 'rollcall rebuild drop'")
                }
                if surroundings.value("ROLLCALL_KAFKA_BOOTSTRAP") != nil {
                    try await TopicScan(kafka: try surroundings.kafka()).requireBeginning(of: .deliveryEvents)
                }
                let made = try await schema.make()
                Terminal.say(
                    "made \(second.name): \(made.deliveries) deliveries, \(made.records) records to project; now start a "
                        + "status-projector with ROLLCALL_PROJECTOR_PROJECTION=\(second.name)")
            }
        }
    }

    struct Watch: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Follow a rebuild to its end.",
            discussion: "Exit code 0 when it is complete, 1 when it is impossible or the time is up.")

        @OptionGroup var second: Name
        @Option(help: "Seconds after which to give up.") var timeout: Int?

        func run() async throws {
            try await Surroundings().withOwner { connection in
                try await RebuildWatch(schema: try await second.existing(connection), timeoutSeconds: timeout).run()
            }
        }
    }

    struct Compare: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compare the rebuilt tables with the live ones as they were at the cut.",
            discussion: """
                Deliveries, counters, problem rows, unreadable records and the whole history, by SHA-256. Exit code 1 and \
                the names of what differs when anything does. Where events belong to deliveries whose rows are gone, \
                sequence numbers and history cannot be the same and are left out, which is said.
                """)

        @OptionGroup var second: Name
        @Option(help: "Name at most so many differences of a table.") var limit = 20

        func validate() throws {
            guard limit > 0 else { throw ValidationError("--limit is a number from 1.") }
        }

        func run() async throws {
            try await Surroundings().withOwner { connection in
                let schema = try await second.existing(connection)
                let progress = try await RebuildWatch.progress(of: schema)
                guard progress.remaining == 0 else {
                    throw Failure(
                        "\(second.name) is not complete, \(progress.remaining) records remain: see 'rollcall rebuild "
                            + "watch \(second.name)'")
                }
                for part in progress.parts { Terminal.say("partition \(part.part) at offset \(part.until)") }
                let comparison = RebuildComparison(schema: schema, limit: limit)
                let lost = try await comparison.eventsWithoutRow()
                if lost > 0 {
                    Terminal.say(
                        "\(lost) events belong to deliveries whose rows are gone: order and history are not compared")
                }
                var differing: Int64 = 0
                for finding in try await comparison.run(withOrder: lost == 0) {
                    Terminal.say(
                        "\(finding.name): \(finding.isEqual ? "equal" : "DIFFERENT")\n"
                            + "  live     \(finding.rows.live) rows  \(finding.hashes.live)\n"
                            + "  rebuilt  \(finding.rows.rebuilt) rows  \(finding.hashes.rebuilt)")
                    for difference in finding.differences { Terminal.say("  \(Terminal.escaped(difference))") }
                    if finding.differing > finding.differences.count {
                        Terminal.say("  … and \(finding.differing - Int64(finding.differences.count)) more")
                    }
                    differing += finding.differing
                }
                guard differing == 0 else { throw Failure("\(differing) differences") }
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the second projections.")

        func run() async throws {
            try await Surroundings().withOwner { connection in
                for schema in try await RebuildSchema.all(connection) {
                    let progress = try await RebuildWatch.progress(of: schema)
                    Terminal.say("\(schema.name)  \(progress.done) of \(progress.total) records")
                }
            }
        }
    }

    struct Drop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remove a second projection with its tables.")

        @OptionGroup var second: Name

        func run() async throws {
            try await Surroundings().withOwner { connection in
                try await second.existing(connection).drop()
                Terminal.say("dropped \(second.name)")
            }
        }
    }
}
