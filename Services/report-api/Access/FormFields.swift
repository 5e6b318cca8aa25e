import Hummingbird
import NIOCore
import Runtime

/// Fields of a query or of a form's body: `application/x-www-form-urlencoded`, UTF-8 only.
struct FormFields: Sendable {
    private static let octetsMax = 8192

    private var values: [String: String] = [:]

    /// - Throws: `Problem` 400 for a field that is not UTF-8 or holds U+0000. The first of equal names counts.
    init(_ encoded: String) throws(Problem) {
        for field in encoded.utf8.split(separator: UInt8(ascii: "&")) {
            let pair = field.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decode(pair[0]), let value = pair.count == 2 ? Self.decode(pair[1]) : "" else {
                throw ReportProblems.body("A field is not percent-encoded UTF-8 text without U+0000.")
            }
            if values[name] == nil { values[name] = value }
        }
    }

    static func query(_ request: Request) throws(Problem) -> FormFields { try FormFields(request.uri.query ?? "") }

    static func body(_ request: Request) async throws -> FormFields {
        let octets = try await request.octets(upTo: octetsMax)
        guard let text = String(validating: octets, as: UTF8.self) else {
            throw ReportProblems.body("The form is not UTF-8 text.")
        }
        return try FormFields(text)
    }

    /// The value; nil when the field is missing or empty.
    subscript(name: String) -> String? { values[name].flatMap { $0.isEmpty ? nil : $0 } }

    /// A whole number inside `range`.
    /// - Throws: `Problem` 400.
    func number(_ name: String, default fallback: Int, in range: ClosedRange<Int>) throws(Problem) -> Int {
        guard let text = self[name] else { return fallback }
        guard let number = Int(text), range.contains(number) else {
            throw ReportProblems.parameter(
                name, "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// `a=1&b=2`, fit for a query. Nil and empty values are left out.
    static func encode(_ fields: KeyValuePairs<String, String?>) -> String {
        fields.compactMap { name, value in
            value.flatMap { $0.isEmpty ? nil : "\(escape(name))=\(escape($0))" }
        }.joined(separator: "&")
    }

    static func escape(_ text: String) -> String {
        var octets: [UInt8] = []
        let digits = Array("0123456789ABCDEF".utf8)
        for octet in text.utf8 {
            switch octet {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: octets.append(octet)
            default: octets += [UInt8(ascii: "%"), digits[Int(octet >> 4)], digits[Int(octet & 15)]]
            }
        }
        return String(decoding: octets, as: UTF8.self)
    }

    private static func decode(_ field: some Collection<UInt8>) -> String? {
        var octets: [UInt8] = []
        var iterator = field.makeIterator()
        while let octet = iterator.next() {
            switch octet {
            case UInt8(ascii: "+"): octets.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                guard let high = iterator.next().flatMap(digit), let low = iterator.next().flatMap(digit) else {
                    return nil
                }
                octets.append(high << 4 | low)
            default: octets.append(octet)
            }
        }
        return octets.contains(0) ? nil : String(validating: octets, as: UTF8.self)
    }

    private static func digit(_ octet: UInt8) -> UInt8? {
        switch octet {
        case 0x30...0x39: octet - 0x30
        case 0x41...0x46: octet - 0x41 + 10
        case 0x61...0x66: octet - 0x61 + 10
        default: nil
        }
    }
}

extension Request {
    /// The body.
    /// - Throws: `Problem` 413 when it is longer than `limit`.
    func octets(upTo limit: Int) async throws -> [UInt8] {
        var octets: [UInt8] = []
        for try await buffer in body {
            octets.append(contentsOf: buffer.readableBytesView)
            guard octets.count <= limit else {
                throw Problem(
                    "too-large", title: "Content too large", status: .contentTooLarge,
                    detail: "The body has more than \(limit) octets, which is the most this route accepts.")
            }
        }
        return octets
    }
}
