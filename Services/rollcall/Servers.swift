import ArgumentParser

/// Where the sender is, and the key for its API.
struct SenderServer: ParsableArguments {
    @Option(help: "The sender's address, such as http://127.0.0.1:8080; the default is ROLLCALL_SENDER_URL.")
    var url: String?
    @Option(help: "The API key; better set ROLLCALL_API_KEY.") var key: String?

    func client() throws -> APIClient {
        let base = try url ?? Surroundings().required("ROLLCALL_SENDER_URL", "the sender's address; or give --url")
        return try APIClient(base: base, key: key)
    }
}

/// Where the report API is, and the key for it.
struct ReportServer: ParsableArguments {
    @Option(help: "The report API's address, such as http://127.0.0.1:8082; the default is ROLLCALL_REPORT_URL.")
    var url: String?
    @Option(help: "The API key; better set ROLLCALL_API_KEY.") var key: String?

    func client() throws -> APIClient { try Self.client(url: url, option: "--url", key: key) }

    /// - Parameter option: the one that `url` came from.
    static func client(url: String?, option: String, key: String?) throws -> APIClient {
        let base =
            try url ?? Surroundings().required("ROLLCALL_REPORT_URL", "the report API's address; or give \(option)")
        return try APIClient(base: base, key: key)
    }
}
