import ArgumentParser
import Delivery

struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Follow a blast until everything is handed over.",
        discussion: """
            A bar on a terminal, otherwise a line for each change. Exit code 0 when the blast is sent (or, with --settled, \
            settled), 1 when the time is up.
            """)

    @Argument(help: "The blast.") var blast: BlastID
    @OptionGroup var server: ReportServer
    @Option(help: "The words to show; the default is the district's.") var vocabulary: String?
    @Flag(help: "Wait until nothing more is expected of any delivery.") var settled = false
    @Option(help: "Seconds after which to give up.") var timeout: Int?

    func run() async throws {
        try await BlastWatch(
            client: try server.client(), blast: blast, vocabulary: vocabulary, untilSettled: settled,
            timeoutSeconds: timeout
        ).run()
    }
}
