import ArgumentParser
import Delivery

struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Follow a blast until everything is handed over.",
        discussion: """
            A bar on a terminal, otherwise a line for each change. The key comes from ROLLCALL_API_KEY. Exit code 0 when \
            the blast is sent (or, with --settled, settled), 1 when the time is up.
            """)

    @Option(help: "The report API's address, such as http://127.0.0.1:8082.") var url: String
    @Option(help: "The API key; better set ROLLCALL_API_KEY.") var key: String?
    @Option(help: "The blast's id.") var blast: String
    @Option(help: "The words to show; the default is the district's.") var vocabulary: String?
    @Flag(help: "Wait until nothing more is expected of any delivery.") var settled = false
    @Option(help: "Seconds after which to give up.") var timeout: Int?

    func validate() throws {
        guard BlastID(blast) != nil else { throw ValidationError("\(blast) is no blast's id.") }
    }

    func run() async throws {
        try await BlastWatch(
            client: try APIClient(base: url, key: key), blast: blast, vocabulary: vocabulary, untilSettled: settled,
            timeoutSeconds: timeout
        ).run()
    }
}
