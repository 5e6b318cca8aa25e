import Delivery

/// What a status says to somebody who has never seen a mail server.
struct PlainWords: Sendable {
    /// The family of a status; gives it its colour, which never stands alone.
    enum Tone: String, Sendable {
        case waiting, underway, good, read, excluded, problem
    }

    let tone: Tone
    /// What is known.
    let meaning: String
    /// What must not be concluded from it.
    var caveat: String?
    /// What one can do.
    var advice: String?
    /// The same as an event of the past, for a timeline.
    let event: String
}

extension DeliveryFact {
    var plainWords: PlainWords {
        switch self {
        case .pending, .validating, .deferred, .inDoubt, .unknown, .sent, .delayed: underwayWords
        case .noAddress, .consentDenied, .notSelected, .skipped, .duplicate, .blockedBounce, .blockedComplaint,
            .blockedInvalid, .invalid, .cancelled:
            excludedWords
        case .notSent, .expired, .bounced, .bouncedInvalid: failedWords
        default: feedbackWords
        }
    }

    private var underwayWords: PlainWords {
        switch self {
        case .validating:
            PlainWords(
                tone: .waiting, meaning: "The address is being checked.",
                caveat: "This should last a moment only.", event: "The address was being checked.")
        case .deferred:
            PlainWords(
                tone: .waiting,
                meaning: "The receiving mail server asked us to come back later. We keep trying.",
                caveat: "Common reasons: the mailbox is full, or the server is busy or down. It often works out.",
                event: "The receiving mail server asked us to come back later.")
        case .inDoubt:
            PlainWords(
                tone: .underway,
                meaning: "The message was handed over, but the connection ended before the answer came.",
                caveat: "It may or may not have arrived. We wait for news and do not send it twice meanwhile.",
                event: "The message was handed over, but no answer came back.")
        case .unknown:
            PlainWords(
                tone: .underway,
                meaning: "The message was handed over, and nobody ever told us what became of it.",
                caveat: "It may or may not have arrived. It was not sent again, so that nobody gets it twice.",
                event: "No news came about a message without an answer; it was not sent again.")
        case .sent:
            PlainWords(
                tone: .underway, meaning: "The message was sent. We have heard nothing more.",
                caveat: "Many of these have in fact arrived: not every mail server reports back.",
                event: "The mail service accepted the message.")
        case .delayed:
            PlainWords(
                tone: .underway, meaning: "The message was sent, and the receiving side has not taken it in yet.",
                caveat: "It is still being tried, for example because the mailbox is full.",
                event: "The receiving side put the delivery off.")
        default:
            PlainWords(
                tone: .waiting, meaning: "The message has not been sent yet.",
                event: "The recipient was added to the list.")
        }
    }

    private var excludedWords: PlainWords {
        switch self {
        case .noAddress:
            PlainWords(
                tone: .problem,
                meaning: "There is no e-mail address on file for this recipient, or for a text no telephone number.",
                advice: "Ask the family for it.", event: "Left out: there is no address.")
        case .consentDenied:
            PlainWords(
                tone: .excluded, meaning: "This recipient has not agreed to get messages this way.",
                event: "Left out: the recipient has not agreed to this kind of message.")
        case .notSelected:
            PlainWords(
                tone: .excluded, meaning: "This address is not meant for this type of message.",
                caveat: "An address can be for emergencies only, for example.",
                event: "Left out: the address is not meant for this type of message.")
        case .skipped:
            PlainWords(
                tone: .excluded, meaning: "This recipient unsubscribed, so the message was not sent.",
                event: "Left out: the recipient had unsubscribed.")
        case .duplicate:
            PlainWords(
                tone: .excluded, meaning: "The same message already went to this address, so it was not sent twice.",
                event: "Left out: the same message already went to this address.")
        case .blockedBounce:
            PlainWords(
                tone: .problem, meaning: "Not sent: an earlier message to this address was returned.",
                advice: "Ask the family for another address. If this one is right after all, an administrator can "
                    + "take it off the blacklist.",
                event: "Left out: an earlier message to this address was returned.")
        case .blockedComplaint:
            PlainWords(
                tone: .problem, meaning: "Not sent: this recipient marked an earlier message as spam.",
                advice: "Reach the family another way, and ask for another address.",
                event: "Left out: this recipient had marked an earlier message as spam.")
        case .blockedInvalid:
            PlainWords(
                tone: .problem, meaning: "Not sent: this address is on the blacklist.",
                advice: "Ask the family for another address.", event: "Left out: the address is on the blacklist.")
        case .invalid:
            PlainWords(
                tone: .problem, meaning: "Not sent: this is not a usable e-mail address or number.",
                advice: "Check the spelling, and correct the address.", event: "Left out: the address cannot be used.")
        default:
            PlainWords(
                tone: .excluded,
                meaning: "Sending was cancelled, or the time for it had passed, before this recipient's turn.",
                event: "Cancelled before the message was sent.")
        }
    }

    private var failedWords: PlainWords {
        switch self {
        case .notSent:
            PlainWords(
                tone: .problem, meaning: "The message could not be sent: it was refused before it was on its way.",
                caveat: "The reason beside it says whether the refusal or an error of ours caused it.",
                event: "The message was refused before it was on its way.")
        case .expired:
            PlainWords(
                tone: .problem, meaning: "We tried again and again, and then gave up.",
                advice: "The mailbox may be full or abandoned. Ask the family for another address.",
                event: "All tries were used up.")
        case .bounced:
            PlainWords(
                tone: .problem, meaning: "The receiving mail server refused the message for good.",
                caveat: "This can be the server's policy and need not be the family's fault.",
                advice: "Check the spelling. If the address is right, the family can ask their mail provider to accept "
                    + "mail from your domain.",
                event: "The receiving mail server refused the message for good.")
        default:
            PlainWords(
                tone: .problem, meaning: "There is no such mailbox, or the part after the @ does not exist.",
                advice: "Check the spelling, or ask the family for another address.",
                event: "The receiving side said that there is no such mailbox or domain.")
        }
    }

    private var feedbackWords: PlainWords {
        switch self {
        case .delivered:
            PlainWords(
                tone: .good, meaning: "The recipient's mail server confirmed that it has the message.",
                caveat: "That does not say whether anybody saw it; it may lie in the spam folder.",
                event: "The recipient's mail server confirmed the delivery.")
        case .opened:
            PlainWords(
                tone: .read, meaning: "The message was opened.",
                caveat: "This shows only when the mail program loads images. Somebody without it may have read the "
                    + "message all the same.",
                event: "The message was opened.")
        case .clicked:
            PlainWords(tone: .read, meaning: "A link in the message was followed.", event: "A link was followed.")
        case .acknowledged:
            PlainWords(
                tone: .read, meaning: "The recipient confirmed having read the message.",
                event: "The recipient confirmed having read the message.")
        case .responded:
            PlainWords(tone: .read, meaning: "The recipient chose an answer.", event: "The recipient chose an answer.")
        case .optedOut:
            PlainWords(
                tone: .excluded, meaning: "The recipient got the message and unsubscribed from further ones.",
                event: "The recipient unsubscribed.")
        case .complained:
            PlainWords(
                tone: .problem, meaning: "The recipient got the message and marked it as spam.",
                caveat: "No further blasts go to this address.",
                advice: "Reach the family another way, and ask for another address.",
                event: "The recipient marked the message as spam.")
        case .machineOpen:
            PlainWords(
                tone: .underway, meaning: "A program opened the message.",
                event: "A program, not a person, opened the message. This does not count as opened.")
        case .machineClick:
            PlainWords(
                tone: .underway, meaning: "A program followed a link.",
                event: "A program, not a person, followed a link. This does not count as clicked.")
        case .unconfirmed:
            PlainWords(
                tone: .underway, meaning: "Nothing more was heard about the message.",
                event: "Nothing more was heard in the time that was waited for. Many such messages arrived.")
        default:
            PlainWords(
                tone: .underway, meaning: "An automatic reply came back.",
                event: "An automatic reply, such as an out-of-office note, came back.")
        }
    }
}

extension StatusVocabulary {
    /// The family of a word: that of the highest fact that it stands for.
    func tone(ofFact fact: DeliveryFact) -> PlainWords.Tone {
        let text = words[fact]?.text
        let sharing = mask.facts.filter { words[$0]?.text == text }
        return (sharing.contains(.sent) ? .sent : sharing.last ?? fact).plainWords.tone
    }
}
