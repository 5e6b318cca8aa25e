import Mail

/// What a mail server's code says, for somebody who has never seen one (RFC 3463 and its registry, RFC 5321).
struct CodeWords: Sendable, Equatable {
    let meaning: String
    /// What one can do about this cause; nil leaves the advice for the status.
    let advice: String?

    /// The words for an enhanced code: its own, else those of its subject, together with how final its class is.
    init(_ code: EnhancedStatusCode) {
        let key = Key(code.subject, code.detail)
        let known = Self.details[key] ?? Self.subjects[code.subject]
        switch code.statusClass {
        case 2: self.init("The server agreed.")
        case 4:
            self.init(
                known.map { "\($0.meaning) The server says that this may pass." }
                    ?? "The server could not take the message for now.", known?.advice)
        default:
            self.init(
                known?.meaning ?? "The server will not take this message, and gives no reason we know.", known?.advice)
        }
    }

    /// The words for the three digits that begin every reply, where no enhanced code tells more.
    init(smtp code: Int) {
        switch code {
        case 200...299: self.init("The server agreed.")
        case 421: self.init("The server was busy or closing down. The server says that this may pass.")
        case 450: self.init("The mailbox was busy or blocked for a moment. The server says that this may pass.")
        case 452: self.init("The server had no room for the message. The server says that this may pass.")
        case 400...499: self.init("The server could not take the message for now.")
        case 550: self.init("The server does not accept mail for this mailbox: it may not exist, or a rule forbids it.")
        case 551: self.init("The mailbox is not on this server.", Self.checkAddress)
        case 552: self.init("The mailbox is full, or the message is too large for it.", Self.makeRoom)
        case 553: self.init("The server does not allow an address written like this.", Self.checkAddress)
        default: self.init("The server will not take this message, and gives no reason we know.")
        }
    }

    private init(_ meaning: String, _ advice: String? = nil) {
        self.meaning = meaning
        self.advice = advice
    }

    private struct Key: Hashable {
        let subject: Int
        let detail: Int

        init(_ subject: Int, _ detail: Int) {
            self.subject = subject
            self.detail = detail
        }
    }

    private static let checkAddress = "Check the spelling, or ask the family for another address."
    private static let askAnother = "Ask the family for another address."
    private static let makeRoom = "Ask the family to make room in the mailbox, or for another address."
    private static let tellUs =
        "The family cannot change this. Tell whoever looks after the district's mail, with the words of the server."
    private static let accept =
        "If the address is right, the family can ask their mail provider to accept mail from your domain."

    /// Where only the subject is known.
    private static let subjects: [Int: CodeWords] = [
        1: CodeWords("Something is wrong with the address.", checkAddress),
        2: CodeWords("Something is wrong with the mailbox.", askAnother),
        3: CodeWords("The receiving mail system has a problem."),
        4: CodeWords("The message could not find its way to the receiving mail system."),
        5: CodeWords("The two mail systems did not understand each other.", tellUs),
        6: CodeWords("The receiving mail system could not handle the content of the message.", tellUs),
        7: CodeWords("A rule of the receiving mail system forbids the message.", accept),
    ]

    private static let details: [Key: CodeWords] = [
        Key(1, 1): CodeWords("There is no mailbox of this name.", checkAddress),
        Key(1, 2): CodeWords("There is no mail system of the name after the @.", checkAddress),
        Key(1, 3): CodeWords("The address is not written as an address must be.", checkAddress),
        Key(1, 4): CodeWords("More than one mailbox goes by this address.", checkAddress),
        Key(1, 6): CodeWords("The mailbox has moved, and the server does not say where to.", askAnother),
        Key(1, 7): CodeWords("The server does not like how our own address is written.", tellUs),
        Key(1, 8): CodeWords("The server could not find the mail system of our own address.", tellUs),
        Key(1, 9): CodeWords("The server does not take mail from our mail system.", tellUs),
        Key(1, 10): CodeWords("The name after the @ belongs to somebody who receives no mail at all.", checkAddress),
        Key(2, 0): CodeWords("Something is wrong with the mailbox.", askAnother),
        Key(2, 1): CodeWords("The mailbox is switched off.", askAnother),
        Key(2, 2): CodeWords("The mailbox is full.", makeRoom),
        Key(2, 3): CodeWords("The message is larger than this mailbox allows."),
        Key(2, 4): CodeWords("The address is a list, and the list did not work.", askAnother),
        Key(3, 1): CodeWords("The receiving mail system has no room left."),
        Key(3, 2): CodeWords("The receiving mail system takes no mail now."),
        Key(3, 3): CodeWords("The receiving mail system lacks something that the message needs.", tellUs),
        Key(3, 4): CodeWords("The message is larger than the receiving mail system allows.", tellUs),
        Key(3, 5): CodeWords("The receiving mail system is set up wrongly."),
        Key(4, 1): CodeWords("The receiving mail system did not answer."),
        Key(4, 2): CodeWords("The connection to the receiving mail system broke."),
        Key(4, 3): CodeWords("The directory that names the receiving mail system did not answer."),
        Key(4, 4): CodeWords("Nobody knows the way to the receiving mail system.", checkAddress),
        Key(4, 5): CodeWords("The receiving mail system has too much to do."),
        Key(4, 6): CodeWords("The message was sent round in a circle between mail systems.", tellUs),
        Key(4, 7): CodeWords("The message was on its way for too long."),
        Key(5, 3): CodeWords("The message has more recipients than the server allows.", tellUs),
        Key(5, 6): CodeWords("The two mail systems did not understand each other.", tellUs),
        Key(6, 1): CodeWords("The server does not allow this kind of content.", tellUs),
        Key(6, 7): CodeWords("The server cannot handle addresses with letters other than a to z.", tellUs),
        Key(7, 1): CodeWords(
            "The server does not accept this message: its rules, such as those against spam, forbid it.", accept),
        Key(7, 2): CodeWords("We may not write to this list.", askAnother),
        Key(7, 8): CodeWords("The server did not accept our sign-in.", tellUs),
        Key(7, 10): CodeWords("The server demands encryption that was not agreed.", tellUs),
        Key(7, 11): CodeWords("The server demands encryption that was not agreed.", tellUs),
        Key(7, 13): CodeWords("The mailbox's user was switched off.", askAnother),
        Key(7, 17): CodeWords("The mailbox belongs to somebody else now.", askAnother),
        Key(7, 18): CodeWords("The name after the @ belongs to somebody else now.", askAnother),
        Key(7, 20): CodeWords("The server misses a valid signature of our domain on the message.", tellUs),
        Key(7, 21): CodeWords("The server misses a valid signature of our domain on the message.", tellUs),
        Key(7, 22): CodeWords("The server misses a valid signature of our domain on the message.", tellUs),
        Key(7, 23): CodeWords("The server does not believe that our mail system may send for our domain.", tellUs),
        Key(7, 24): CodeWords("The server could not check whether our mail system may send for our domain.", tellUs),
        Key(7, 25): CodeWords("The server could not find the name of our mail system.", tellUs),
        Key(7, 26): CodeWords("The server does not believe that the message is from us.", tellUs),
        Key(7, 27): CodeWords("The server found that our own address receives no mail.", tellUs),
        Key(7, 28): CodeWords("The server finds that too much mail is coming.", tellUs),
    ]

    /// The codes that have words of their own.
    static var known: [(subject: Int, detail: Int)] { details.keys.map { ($0.subject, $0.detail) } }
}

/// The codes at the beginning of what a mail server or a provider said.
struct ReportedCode: Sendable, Equatable {
    let smtp: Int?
    let enhanced: EnhancedStatusCode?

    /// Reads `550 5.1.1 …`, `550 …`, `550-5.1.1 …` or `5.1.1 …`; nil for a text that begins otherwise.
    init?(_ text: String) {
        var words = text.split(maxSplits: 2, omittingEmptySubsequences: true) { $0 == " " || $0 == "-" || $0 == ":" }[
            ...]
        var smtp: Int?
        if let first = words.first, first.utf8.count == 3, let number = Int(first), (200...599).contains(number) {
            smtp = number
            words = words.dropFirst()
        }
        let enhanced = words.first.flatMap { EnhancedStatusCode($0) }
        guard smtp != nil || enhanced != nil else { return nil }
        self.smtp = smtp
        self.enhanced = enhanced
    }

    var words: CodeWords? {
        if let enhanced { return CodeWords(enhanced) }
        return smtp.map { CodeWords(smtp: $0) }
    }
}
