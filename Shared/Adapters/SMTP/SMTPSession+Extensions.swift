import Mail

extension SMTPSession.Extensions {
    /// Reads the lines of a reply to EHLO; the first one greets.
    init(ehlo reply: SMTPReply) {
        for line in reply.lines.dropFirst() {
            let words = line.uppercased().split(separator: " ")
            switch words.first {
            case "PIPELINING": pipelining = true
            case "8BITMIME": eightBitMIME = true
            case "SMTPUTF8": smtpUTF8 = true
            case "STARTTLS": startTLS = true
            case "DSN": dsn = true
            case "AUTH":
                authPlain = authPlain || words.contains("PLAIN")
                authLogin = authLogin || words.contains("LOGIN")
            case "SIZE":
                size = true
                if words.count > 1, let limit = Int(words[1]), limit > 0 { largestMessage = limit }
            default: break
            }
        }
    }
}
