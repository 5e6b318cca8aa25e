public import Mail

/// What is known about a message that was offered to a provider over HTTP.
///
/// Answers are put into SMTP's terms (RFC 5321, RFC 3463), because whatever explains a delivery reads those; the
/// provider's own code and words follow.
public enum ProviderOutcome: Sendable, Equatable {
    /// The provider took responsibility; its key of the message ends the reply.
    case accepted(SMTPReply)
    /// Refused for good, either because of the recipient's address or not.
    case rejected(SMTPReply, isAboutRecipient: Bool)
    /// Refused for now; 421 when less of everything is wanted.
    case deferred(SMTPReply)
    /// Refused whatever the message is: credentials, account, clock, address of the API.
    case refusesUs(reason: String)
    /// Provably not sent: no connection, or the time was over.
    case notSent(reason: String)
    /// The whole request was handed to the network and there is no usable answer.
    case inDoubt(reason: String)
}

extension HTTPExchange {
    /// - Parameter judge: what an answer means that is no matter of HTTP itself.
    func outcome(of provider: String, _ judge: (HTTPAnswer) -> ProviderOutcome) -> ProviderOutcome {
        switch self {
        case .notSent(let reason): return .notSent(reason: reason)
        case .noAnswer(let reason): return .inDoubt(reason: reason)
        case .answered(let answer):
            switch answer.status {
            case 300..<400:
                return .refusesUs(reason: "\(provider) answered \(answer.status), a redirect: the address is wrong")
            case 408: return .deferred(.provider(451, "4.4.1", "\(provider) waited for the request in vain (HTTP 408)"))
            case 502, 504:
                // Somebody in between lost the answer.
                return .inDoubt(reason: "\(provider) answered \(answer.status)")
            default: return judge(answer)
            }
        }
    }
}

extension SMTPReply {
    static let wordsMax = 300

    /// - Parameter words: as the provider said them; cut, and kept in one line.
    static func provider(_ code: Int, _ enhanced: String, _ words: String) -> SMTPReply {
        var line = String.UnicodeScalarView()
        for scalar in words.unicodeScalars.prefix(wordsMax) {
            line.append(scalar.value < 0x20 || scalar.value == 0x7F ? " " : scalar)
        }
        return SMTPReply(code: code, lines: ["\(enhanced) \(String(line))"])
    }
}
