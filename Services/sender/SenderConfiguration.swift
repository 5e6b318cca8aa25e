import HTTPProviders
import NIOCore
import Runtime
import SMTP
import Signing

/// The sender's settings, read once.
struct SenderConfiguration: Sendable {
    static let listen = Setting<ListenAddress>.listen(
        "sender.listen", default: ListenAddress(host: "127.0.0.1", port: 8080), doc: "address of the public HTTP API")
    static let smtpReplyTimeout = Setting<Duration>.duration(
        "smtp.reply.timeout", default: .seconds(600), in: .milliseconds(100) ... .seconds(3600),
        doc: "how long the answer to a final dot may take; below 600s doubt is made by ourselves")
    static let smtpDotDeadline = Setting<Duration>.duration(
        "smtp.dot.deadline", default: .seconds(5), in: .milliseconds(100) ... .seconds(300),
        doc: "time from the last check to the final dot; a message that is later is not sent and tried again")
    static let smtpHelo = Setting<String>.string(
        "smtp.helo", default: "localhost.localdomain", doc: "our own name in EHLO")
    static let chunkSize = Setting<Int>.int(
        "sender.chunk.size", default: 500, in: 1...10_000, doc: "recipients per chunk")
    static let window = Setting<Int>.int(
        "sender.window", default: 50, in: 1...1000, doc: "messages prepared together")
    static let retrySchedule = Setting<[Duration]>(
        "sender.retry.schedule",
        default: [
            .seconds(60), .seconds(300), .seconds(1200), .seconds(3600), .seconds(4 * 3600), .seconds(12 * 3600),
            .seconds(24 * 3600),
        ],
        expectation: "a comma-separated list of durations such as 1m,5m,20m",
        documentation: "pauses after temporary refusals; when they are used up the delivery has expired",
        parse: DurationList.parse, show: DurationList.print)
    static let inDoubtAfter = Setting<Duration>.duration(
        "sender.indoubt.after", default: .seconds(900), in: .milliseconds(100) ... .seconds(86400),
        doc: "how long evidence is waited for before a blast's policy resolves doubt")
    static let lease = Setting<Duration>.duration(
        "sender.lease", default: .seconds(10), in: .seconds(1) ... .seconds(600),
        doc: "how long other senders wait before they take over from a silent one")
    static let guardFreshness = Setting<Duration>.duration(
        "sender.guard.freshness", default: .seconds(10), in: .milliseconds(500) ... .seconds(600),
        doc: "how old the guard's knowledge may be before general sending waits")
    static let emergencyPatience = Setting<Duration>.duration(
        "sender.emergency.patience", default: .seconds(30), in: .seconds(1) ... .seconds(3600),
        doc: "how long an emergency blast waits for the guard before it is sent without screening")
    static let breakerShare = Setting<Int>.int(
        "sender.breaker.share", default: 10, in: 1...100,
        doc: "percent of bad addresses at which a general blast is held until its sender resumes it")
    static let breakerAfter = Setting<Int>.int(
        "sender.breaker.after", default: 500, in: 1...1_000_000,
        doc: "recipients of a blast that are tried before the share of bad addresses counts")
    static let stallAfter = Setting<Duration>.duration(
        "sender.stall.after", default: .seconds(600), in: .seconds(1) ... .seconds(86400),
        doc: "how long a blast may be sent without one message handed over before it is reported")
    static let resultWithin = Setting<Duration>.duration(
        "sender.result.within", default: .seconds(3 * 86400), in: .seconds(1) ... .seconds(60 * 86400),
        doc: "how long after the end of sending a final result is waited for; then none is expected any more")
    static let rates = Setting<[String: Int]>(
        "sender.rates", default: [:],
        expectation: "a comma-separated list of DOMAIN=MESSAGES, with * for all and relay:NAME for a relay, such as "
            + "*=100,gmail.com=20,relay:spare=5",
        documentation: "most messages a second, of all senders together; the same for every sender",
        parse: RateList.parse, show: RateList.print)
    static let bounceDomain = Setting<String>.string(
        "sender.bounce.domain", default: "bounce.invalid", doc: "domain of return paths and Message-IDs")
    static let publicURL = Setting<String>.string(
        "public.url", default: "http://127.0.0.1:8081", doc: "where links in messages lead: the event ingester")
    static let tokenKeys = Setting<[String]>(
        "tokens.keys", default: nil,
        expectation: "a comma-separated list of number:secret, a secret being 64 or more hexadecimal digits",
        documentation: "keys of the tokens in links; the highest number signs", isSecret: true,
        parse: { raw in
            let items: [String] =
                switch raw {
                case .list(let items): items
                case .text(let text): text.split(separator: ",").map { String($0.filter { $0 != " " }) }
                }
            return (try? TokenKeys(items)) == nil ? nil : items
        }, show: { _ in "***" })

    static let declared: [any DeclaredSetting] =
        [
            listen, smtpReplyTimeout, smtpDotDeadline, smtpHelo, chunkSize, window,
            retrySchedule, inDoubtAfter, lease, guardFreshness, emergencyPatience, breakerShare, breakerAfter,
            stallAfter, resultWithin, rates, bounceDomain, publicURL, tokenKeys,
        ] + RelaySettings.declared + ProviderSettings.declared + IntakeLimits.settings

    let listen: ListenAddress
    /// The SMTP relays; with SES there may be none.
    let relays: [RelayConfiguration]
    let ses: SESRelay?
    /// Nil when no text messages are sent.
    let sms: TextMessageService.Configuration?
    /// The same for every relay.
    let replyTimeout: Duration
    let dotDeadline: Duration
    let chunkSize: Int
    let window: Int
    let schedule: RetrySchedule
    let inDoubtAfter: Duration
    let lease: Duration
    let guardFreshness: Duration
    let emergencyPatience: Duration
    let breakerShare: Int
    let breakerAfter: Int
    let stallAfter: Duration
    let resultWithin: Duration
    let rates: [String: Int]
    let composer: MessageComposer
    let limits: IntakeLimits

    init(_ settings: Settings) throws {
        listen = settings[Self.listen]
        let replyTimeout = settings[Self.smtpReplyTimeout]
        self.replyTimeout = replyTimeout
        if try ProviderSettings.usesSMTP(settings) {
            relays = try RelaySettings.relays(settings) { smtp in
                smtp.heloName = settings[Self.smtpHelo]
                smtp.dotReplyTimeout = replyTimeout
            }
        } else {
            relays = []
        }
        let answerTimeout = min(replyTimeout, .seconds(60))
        ses = try ProviderSettings.ses(settings, answerTimeout: answerTimeout)
        sms = try ProviderSettings.sms(settings, answerTimeout: answerTimeout)
        dotDeadline = settings[Self.smtpDotDeadline]
        chunkSize = settings[Self.chunkSize]
        window = settings[Self.window]
        schedule = RetrySchedule(delays: settings[Self.retrySchedule])
        inDoubtAfter = settings[Self.inDoubtAfter]
        lease = settings[Self.lease]
        guardFreshness = settings[Self.guardFreshness]
        emergencyPatience = settings[Self.emergencyPatience]
        breakerShare = settings[Self.breakerShare]
        breakerAfter = settings[Self.breakerAfter]
        stallAfter = settings[Self.stallAfter]
        resultWithin = settings[Self.resultWithin]
        rates = settings[Self.rates]
        let names = relays.map(\.name) + (ses == nil ? [] : ["ses"]) + (sms == nil ? [] : ["sms"])
        if let taken = relays.map(\.name).first(where: { ["ses", "sms"].contains($0) }) {
            throw ConfigurationError(
                subject: RelaySettings.relays.key,
                explanation: "\(taken) is the name of a provider; give the relay another")
        }
        if let stranger = SendRates.relays(rates).keys.filter({ !names.contains($0) }).min() {
            throw ConfigurationError(
                subject: Self.rates.key,
                explanation: "there is no relay \"\(stranger)\"; there are \(names.joined(separator: ", "))")
        }
        let url = settings[Self.publicURL]
        guard url.hasPrefix("http://") || url.hasPrefix("https://"), url.utf8.allSatisfy(Self.isPlain) else {
            throw ConfigurationError(
                subject: "public.url", explanation: "an http or https address without spaces or quotes is expected")
        }
        composer = MessageComposer(
            publicURL: url, bounceDomain: settings[Self.bounceDomain],
            keys: try TokenKeys(settings[Self.tokenKeys]))
        var limits = IntakeLimits(settings)
        limits.hasSMS = sms != nil
        self.limits = limits
    }

    /// Every way out, ready to be used.
    func ways(on eventLoopGroup: any EventLoopGroup) -> [Way] {
        relays.map { Way($0, eventLoopGroup: eventLoopGroup) }
            + (ses.map { [Way(ses: $0, eventLoopGroup: eventLoopGroup)] } ?? [])
            + (sms.map { [Way(sms: $0, eventLoopGroup: eventLoopGroup)] } ?? [])
    }

    /// Fit for a header and for an attribute in quotes.
    private static func isPlain(_ octet: UInt8) -> Bool {
        (0x21...0x7E).contains(octet) && octet != UInt8(ascii: "\"") && octet != UInt8(ascii: "<")
            && octet != UInt8(ascii: ">") && octet != UInt8(ascii: "&") && octet != UInt8(ascii: ",")
    }
}

/// Lists of durations as operators write them.
enum DurationList {
    static func parse(_ raw: SettingText) -> [Duration]? {
        guard let items = raw.items, !items.isEmpty else { return nil }
        let durations = items.compactMap(DurationText.parse)
        guard durations.count == items.count else { return nil }
        return durations.allSatisfy { $0 > .zero && $0 < .seconds(10_000 * 86400) } ? durations : nil
    }

    static func print(_ durations: [Duration]) -> String {
        durations.map(DurationText.print).joined(separator: ",")
    }
}
