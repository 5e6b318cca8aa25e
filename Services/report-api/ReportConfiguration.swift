import Runtime

struct ReportConfiguration: Sendable {
    static let listen = Setting<ListenAddress>.listen(
        "report.listen", default: ListenAddress(host: "127.0.0.1", port: 8082),
        doc: "address of the pages and of the JSON API")
    static let sessionSecret = Setting<String?>(
        "report.session.secret", default: .some(nil), expectation: "32 or more characters, or leave it out",
        documentation: "signs the cookies of signed-in people; the same for every report-api behind one address",
        isSecret: true,
        parse: { raw in
            guard case .text(let text) = raw, text.utf8.count >= 32 else { return nil }
            return .some(text)
        }, show: { $0 == nil ? "(none)" : "***" })

    static let declared: [any DeclaredSetting] = [listen, sessionSecret]

    let listen: ListenAddress
    let sessionSecret: String?

    init(_ settings: Settings) {
        listen = settings[Self.listen]
        sessionSecret = settings[Self.sessionSecret]
    }
}
