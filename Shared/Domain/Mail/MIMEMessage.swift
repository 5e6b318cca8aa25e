/// An address with the name shown beside it.
public struct Mailbox: Sendable {
    public let name: String?
    public let address: EmailAddress

    public init(name: String? = nil, address: EmailAddress) {
        self.name = name
        self.address = address
    }
}

/// Why a message cannot be built; nothing is ever repaired silently.
public enum MIMEFault: Error, Equatable, Sendable {
    case headerValue(name: String, HeaderFault)
    case headerName(String)
    case reservedHeader(String)
    case messageID(String)
    case unsubscribeURL(String)
    case boundary(String)
    case noBody
    case attachment(String)

    public var reason: String {
        switch self {
        case .headerValue(let name, let fault): "\(name): \(fault.reason)"
        case .headerName: "A header name may have printable ASCII other than the colon, 1 to 76 octets."
        case .reservedHeader(let name):
            "\(name) comes from the message's own fields; do not give it as an extra header."
        case .messageID: "A message id is left@right, letters, digits and . _ - + = only, 200 octets at most."
        case .unsubscribeURL:
            "An unsubscribe address is an http, https or mailto URL in ASCII, without < > or commas, at most 900 long."
        case .boundary: "A boundary has 1 to 60 letters, digits, . _ or -."
        case .noBody: "A message needs a text or an HTML body."
        case .attachment(let reason): reason
        }
    }
}

/// A body of a message.
public enum MIMEBody: Sendable {
    case text(String)
    /// What appends UTF-8 that `QuotedPrintable.append` encodes, about so many octets.
    case encoded(about: Int, @Sendable (inout [UInt8]) -> Void)

    fileprivate var count: Int {
        switch self {
        case .text(let text): text.utf8.count * 9 / 8
        case .encoded(let count, _): count
        }
    }

    fileprivate func append(to octets: inout [UInt8]) {
        switch self {
        case .text(let text): QuotedPrintable.append(text, to: &octets)
        case .encoded(_, let append): append(&octets)
        }
    }
}

/// One message to one recipient; `encoded()` gives the octets that go between `DATA` and the final dot.
///
/// The same fields always give the same octets: date, message id and boundary come from the caller, so a retry sends
/// what was sent before. Bodies are UTF-8 in quoted-printable; with both bodies the result is `multipart/alternative`,
/// text first; attachments follow in a `multipart/mixed`. Every value is checked with `headerFault(in:)`.
public struct MIMEMessage: Sendable {
    public var from: Mailbox
    public var to: Mailbox
    public var subject: String
    /// Seconds since 1970; written in UTC.
    public var date: Int64
    /// `left@right` without the angle brackets.
    public var messageID: String
    public var replyTo: Mailbox?
    /// Addresses of List-Unsubscribe, best first.
    public var unsubscribeURLs: [String] = []
    /// Announces RFC 8058 one-click for the first https or http address.
    public var oneClickUnsubscribe = false
    public var extraHeaders: [(name: String, value: String)] = []
    public var text: MIMEBody?
    public var html: MIMEBody?
    public var attachments: [MIMEAttachment] = []
    public var boundary: String

    public init(
        from: Mailbox, to: Mailbox, subject: String, date: Int64, messageID: String, text: MIMEBody?, html: MIMEBody?,
        boundary: String
    ) {
        self.from = from
        self.to = to
        self.subject = subject
        self.date = date
        self.messageID = messageID
        self.text = text
        self.html = html
        self.boundary = boundary
    }

    /// With bodies that are to be encoded.
    public init(
        from: Mailbox, to: Mailbox, subject: String, date: Int64, messageID: String, text: String? = nil,
        html: String? = nil, boundary: String
    ) {
        self.init(
            from: from, to: to, subject: subject, date: date, messageID: messageID, text: text.map { .text($0) },
            html: html.map { .text($0) }, boundary: boundary)
    }

    /// Canonical CR LF octets that end with a line end. Not dot-stuffed.
    public func encoded() throws(MIMEFault) -> [UInt8] {
        try checkFields()
        var headers = HeaderWriter()
        headers.reserve((text?.count ?? 0) + (html?.count ?? 0) + 2048)
        headers.mailbox("From", from)
        headers.mailbox("To", to)
        if let replyTo { headers.mailbox("Reply-To", replyTo) }
        headers.unstructured("Subject", subject)
        headers.unstructured("Date", MailDate.string(unixSeconds: date))
        headers.field("Message-ID") { $0.append("<", messageID, ">") }
        if !unsubscribeURLs.isEmpty {
            headers.field("List-Unsubscribe") { field in
                for url in unsubscribeURLs.dropLast() { field.append("<", url, ">,") }
                field.append("<", unsubscribeURLs[unsubscribeURLs.count - 1], ">")
            }
            if oneClickUnsubscribe {
                headers.unstructured("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
            }
        }
        for header in extraHeaders { headers.unstructured(header.name, header.value) }
        headers.unstructured("MIME-Version", "1.0")
        guard !attachments.isEmpty else { return try appendBody(to: &headers) }
        let boundary = "=_mixed." + boundary
        headers.multipart("mixed", boundary: boundary)
        var octets = headers.finish() + Array("--\(boundary)\r\n".utf8)
        var inner = HeaderWriter()
        octets += try appendBody(to: &inner)
        for attachment in attachments {
            octets += Array("--\(boundary)\r\n".utf8) + attachment.part
        }
        return octets + Array("--\(boundary)--\r\n".utf8)
    }

    private func appendBody(to headers: inout HeaderWriter) throws(MIMEFault) -> [UInt8] {
        switch (text, html) {
        case (nil, nil): throw .noBody
        case (let text?, let html?):
            // `=_` cannot occur in quoted-printable, so no body can contain the boundary.
            let boundary = "=_" + boundary
            headers.multipart("alternative", boundary: boundary)
            var octets = headers.finish()
            Self.appendDelimiter(boundary, "\r\n", to: &octets)
            octets += Self.plainHeaders
            text.append(to: &octets)
            octets += "\r\n".utf8
            Self.appendDelimiter(boundary, "\r\n", to: &octets)
            octets += Self.htmlHeaders
            html.append(to: &octets)
            octets += "\r\n".utf8
            Self.appendDelimiter(boundary, "--\r\n", to: &octets)
            return octets
        case (let body?, nil): return single(Self.plainHeaders, body, &headers)
        case (nil, let body?): return single(Self.htmlHeaders, body, &headers)
        }
    }

    private func single(_ partHeaders: [UInt8], _ body: MIMEBody, _ headers: inout HeaderWriter) -> [UInt8] {
        var octets = headers.take()
        octets += partHeaders
        body.append(to: &octets)
        // Before an attachment the last line end belongs to the boundary.
        if octets.last != 0x0A || !attachments.isEmpty { octets += [0x0D, 0x0A] }
        return octets
    }

    private static let plainHeaders = partHeaders("plain")
    private static let htmlHeaders = partHeaders("html")

    private static func appendDelimiter(_ boundary: String, _ end: String, to octets: inout [UInt8]) {
        octets += "--".utf8
        octets += boundary.utf8
        octets += end.utf8
    }

    private static func partHeaders(_ subtype: String) -> [UInt8] {
        let type = "Content-Type: text/\(subtype); charset=utf-8\r\n"
        return Array((type + "Content-Transfer-Encoding: quoted-printable\r\n\r\n").utf8)
    }
}

extension MIMEMessage {
    private static let ownHeaders = [
        "from", "to", "reply-to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post",
        "mime-version", "content-type", "content-transfer-encoding", "bcc", "cc", "sender", "return-path",
    ].map { Array($0.utf8) }

    private func checkFields() throws(MIMEFault) {
        try check("From", from.name)
        try check("To", to.name)
        try check("Reply-To", replyTo?.name)
        try check("Subject", subject)
        guard Self.isMessageID(messageID) else { throw .messageID(messageID) }
        guard (1...60).contains(boundary.utf8.count), boundary.utf8.allSatisfy(Self.isTokenOctet) else {
            throw .boundary(boundary)
        }
        for url in unsubscribeURLs { guard Self.isURL(url) else { throw .unsubscribeURL(url) } }
        for header in extraHeaders {
            let name = header.name.utf8
            guard (1...76).contains(name.count), name.allSatisfy({ (0x21...0x7E).contains($0) && $0 != 0x3A }) else {
                throw .headerName(header.name)
            }
            let isOwn = Self.ownHeaders.contains {
                $0.count == name.count && $0.elementsEqual(name.lazy.map(ASCII.lowered))
            }
            guard !isOwn else { throw .reservedHeader(header.name) }
            try check(header.name, header.value)
        }
    }

    private func check(_ name: String, _ value: String?) throws(MIMEFault) {
        if let value, let fault = headerFault(in: value) { throw .headerValue(name: name, fault) }
    }

    private static func isTokenOctet(_ octet: UInt8) -> Bool {
        ASCII.isLetterOrDigit(octet) || octet == 0x2D || octet == 0x2E || octet == 0x5F
    }

    private static func isMessageID(_ text: String) -> Bool {
        let octets = Array(text.utf8)
        guard octets.count <= 200, let at = octets.firstIndex(of: UInt8(ascii: "@")) else { return false }
        return isMessageIDSide(octets[..<at]) && isMessageIDSide(octets[(at + 1)...])
    }

    private static func isMessageIDSide(_ side: ArraySlice<UInt8>) -> Bool {
        !side.isEmpty && side.first != 0x2E && side.last != 0x2E
            && side.allSatisfy { isTokenOctet($0) || $0 == 0x2B || $0 == 0x3D }
    }

    private static func isURL(_ text: String) -> Bool {
        guard text.utf8.count <= HeaderWriter.longestToken,
            text.utf8.starts(with: "https://".utf8) || text.utf8.starts(with: "http://".utf8)
                || text.utf8.starts(with: "mailto:".utf8)
        else { return false }
        return text.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != 0x3C && $0 != 0x3E && $0 != 0x2C }
    }
}
