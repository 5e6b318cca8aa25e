import Runtime
import Signing

struct IngesterConfiguration: Sendable {
    static let listen = Setting<ListenAddress>.listen(
        "ingester.listen", default: ListenAddress(host: "127.0.0.1", port: 8081),
        doc: "address of webhooks, pixels, links and unsubscriptions")
    static let quietWindow = Setting<Duration>.duration(
        "tracking.quiet.window", default: .seconds(5), in: .milliseconds(100) ... .seconds(600),
        doc: "how long a message must stay untouched before its opens and clicks are judged")
    static let webhookSecrets = keys(
        "webhook.secrets", expectation: "a comma-separated list of whsec_ and 24 to 64 octets in base64",
        doc: "secrets that providers sign webhooks with (Standard Webhooks); several during a rotation"
    ) { try? StandardWebhook(secrets: $0) }
    static let tokenKeys = keys(
        "tokens.keys", expectation: "a comma-separated list of number:secret, a secret being 64 or more hex digits",
        doc: "keys of the tokens in messages, the same for sender and ingester; the highest number signs"
    ) { try? TokenKeys($0) }

    static let declared: [any DeclaredSetting] = [listen, quietWindow, webhookSecrets, tokenKeys]

    let listen: ListenAddress
    let quietWindow: Duration
    let webhook: StandardWebhook
    let tokens: TokenKeys

    init(_ settings: Settings) {
        listen = settings[Self.listen]
        quietWindow = settings[Self.quietWindow]
        webhook = settings[Self.webhookSecrets]
        tokens = settings[Self.tokenKeys]
    }

    /// A required list of secrets, checked when the configuration is read.
    private static func keys<Keys: Sendable>(
        _ key: String, expectation: String, doc: String, _ make: @escaping @Sendable ([String]) -> Keys?
    ) -> Setting<Keys> {
        Setting(
            key, default: nil, expectation: expectation, documentation: doc, isSecret: true,
            parse: { raw in
                switch raw {
                case .list(let items): make(items)
                case .text(let text):
                    make(text.split(separator: ",").map { String($0.filter { $0 != " " }) })
                }
            }, show: { _ in "***" })
    }
}
