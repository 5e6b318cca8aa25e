import Mail

extension SMTPSession.Message {
    init(envelope: SMTPEnvelope, message: [UInt8]) {
        self.envelope = envelope
        octets = message.count
        guard message.reduce(0, |) >= 0x80 else {
            hasHighOctets = false
            hasHighOctetsInHeader = false
            return
        }
        var high = false
        var highInHeader = false
        var inHeader = true
        var lastWasLineEnd = false
        for octet in message {
            if octet >= 0x80 {
                high = true
                highInHeader = highInHeader || inHeader
                if !inHeader { break }
            }
            guard inHeader else { continue }
            if octet == 0x0A {
                inHeader = !lastWasLineEnd
                lastWasLineEnd = true
            } else if octet != 0x0D {
                lastWasLineEnd = false
            }
        }
        hasHighOctets = high
        hasHighOctetsInHeader = highInHeader
    }

    /// A refusal our own side makes, in the words a server would use; nil when the message can be offered.
    func localRefusal(_ extensions: SMTPSession.Extensions) -> SMTPReply? {
        if !Self.isPath(envelope.sender, mayBeEmpty: true) {
            return SMTPReply(
                code: 553, lines: ["5.1.7 The return path is no address; nothing was sent"], isLocal: true)
        }
        if !Self.isPath(envelope.recipient, mayBeEmpty: false) {
            return SMTPReply(code: 553, lines: ["5.1.3 The recipient is no address; nothing was sent"], isLocal: true)
        }
        if needsSMTPUTF8, !extensions.smtpUTF8 {
            return SMTPReply(
                code: 553, lines: ["5.6.7 The address needs SMTPUTF8, which the server does not offer"], isLocal: true)
        }
        if hasHighOctets, !extensions.eightBitMIME {
            return SMTPReply(
                code: 554, lines: ["5.6.3 The message has octets above 127 and the server does not take them"],
                isLocal: true)
        }
        if let limit = extensions.largestMessage, octets > limit {
            return SMTPReply(
                code: 552, lines: ["5.3.4 The message has \(octets) octets; the server takes \(limit)"], isLocal: true)
        }
        return nil
    }

    /// `MAIL`, with the parameters that the server offers and the message needs.
    func mailCommand(_ extensions: SMTPSession.Extensions) -> String {
        var command = "MAIL FROM:<\(envelope.sender)>"
        if extensions.size { command += " SIZE=\(octets)" }
        if hasHighOctets { command += " BODY=8BITMIME" }
        if needsSMTPUTF8 { command += " SMTPUTF8" }
        if extensions.dsn {
            command += " RET=HDRS"
            if let id = envelope.envelopeID.flatMap(DSNText.envelopeID) { command += " ENVID=\(id)" }
        }
        return command + "\r\n"
    }

    /// `RCPT`. A notification is wanted of failure and of delay; success is told by the server's own answer.
    func recipientCommand(_ extensions: SMTPSession.Extensions) -> String {
        var command = "RCPT TO:<\(envelope.recipient)>"
        if extensions.dsn {
            command += " NOTIFY=FAILURE,DELAY"
            if let original = DSNText.originalRecipient(envelope.recipient) { command += " ORCPT=\(original)" }
        }
        return command + "\r\n"
    }

    var needsSMTPUTF8: Bool {
        hasHighOctetsInHeader || !envelope.sender.utf8.allSatisfy { $0 < 0x80 }
            || !envelope.recipient.utf8.allSatisfy { $0 < 0x80 }
    }

    /// Nothing that could end the path early or start another command. The grammar itself is `EmailAddress`'s.
    private static func isPath(_ text: String, mayBeEmpty: Bool) -> Bool {
        if text.isEmpty { return mayBeEmpty }
        if text.utf8.count <= 320, DSNText.isPlain(text), text.utf8.contains(UInt8(ascii: "@")) { return true }
        return text.utf8.count <= 320 && headerFault(in: text) == nil && text.utf8.contains(UInt8(ascii: "@"))
            && (text.utf8.first == UInt8(ascii: "\"")
                ? (try? EmailAddress(parsing: text)) != nil
                : text.utf8.allSatisfy { $0 != 0x20 && $0 != 0x3C && $0 != 0x3E })
    }
}

/// Values of the parameters of RFC 3461 and RFC 6533.
enum DSNText {
    /// xtext (RFC 3461 §4): printable ASCII as it is, `+` and `=` as `+XX`. Nil for anything else or too long.
    static func envelopeID(_ text: String) -> String? {
        if text.utf8.allSatisfy(isPlain), (1...100).contains(text.utf8.count) { return text }
        var value = ""
        for octet in text.utf8 {
            guard (0x21...0x7E).contains(octet) else { return nil }
            value += isPlain(octet) ? String(UnicodeScalar(octet)) : "+" + hexadecimal(UInt32(octet))
        }
        return (1...100).contains(value.utf8.count) ? value : nil
    }

    /// `rfc822;` with xtext, or `utf-8;` with the 7-bit form of RFC 6533, which every server with DSN has to take. Nil
    /// when the parameter would be longer than the 500 octets that RFC 3461 allows.
    static func originalRecipient(_ address: String) -> String? {
        if isPlain(address), address.utf8.count <= 400 { return "rfc822;" + address }
        let isASCII = address.utf8.allSatisfy { $0 < 0x80 }
        var value = isASCII ? "rfc822;" : "utf-8;"
        for scalar in address.unicodeScalars {
            if scalar.isASCII, isPlain(UInt8(scalar.value)), isASCII || scalar != "\\" {
                value.unicodeScalars.append(scalar)
            } else if isASCII {
                value += "+" + hexadecimal(scalar.value)
            } else {
                value += "\\x{" + hexadecimal(scalar.value) + "}"
            }
        }
        return value.utf8.count <= 500 ? value : nil
    }

    /// Letters, digits and what stands in common addresses: the same in every notation.
    static func isPlain(_ text: String) -> Bool {
        text.utf8.allSatisfy { octet in
            switch octet {
            case 0x30...0x39, 0x61...0x7A, 0x41...0x5A, 0x2D, 0x2E, 0x40, 0x5F: true
            default: false
            }
        }
    }

    private static func isPlain(_ octet: UInt8) -> Bool {
        (0x21...0x7E).contains(octet) && octet != UInt8(ascii: "+") && octet != UInt8(ascii: "=")
    }

    private static func hexadecimal(_ value: UInt32) -> String {
        let digits = String(value, radix: 16, uppercase: true)
        return digits.utf8.count < 2 ? "0" + digits : digits
    }
}
