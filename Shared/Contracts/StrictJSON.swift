import Foundation

/// JSON as this system accepts it from outside: one meaning only.
///
/// Parsers disagree about duplicate keys, invalid UTF-8 and deep nesting, so the same bytes could mean two things in
/// two services. `check` refuses such documents before any decoder sees them.
public enum StrictJSON {
    public static let depthMax = 32

    /// Decodes `bytes` after `check`.
    public static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws(ContractError) -> Value
    {
        try check(bytes)
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch let error as DecodingError {
            throw ContractError(explain(error))
        } catch {
            throw ContractError("not a JSON document")
        }
    }

    /// Encodes with sorted keys, so that equal values are equal bytes.
    public static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(value))
    }

    /// Refuses invalid UTF-8, a byte order mark, NUL (also escaped), lone surrogates, duplicate keys of one object and
    /// nesting deeper than `depthMax`. Anything else that is not JSON is left to the decoder.
    public static func check(_ bytes: [UInt8]) throws(ContractError) {
        guard String(validating: bytes, as: UTF8.self) != nil else { throw ContractError("not valid UTF-8") }
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { throw ContractError("starts with a byte order mark") }
        var scanner = Scanner(bytes: bytes)
        try scanner.scan()
    }

    private static func explain(_ error: DecodingError) -> String {
        func path(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }.joined()
            return path.isEmpty ? "document" : path
        }
        switch error {
        case .keyNotFound(let key, let context): return "\(path(context)): missing member \"\(key.stringValue)\""
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return "\(path(context)): wrong type of value"
        case .dataCorrupted(let context):
            return context.codingPath.isEmpty ? "not a JSON document" : "\(path(context)): \(context.debugDescription)"
        @unknown default: return "not a JSON document of the expected shape"
        }
    }

    private struct Scanner {
        let bytes: [UInt8]
        var index = 0
        /// One entry per open container: the keys of an object, nil for an array.
        var open: [Set<[UInt8]>?] = []
        var expectsKey = false

        init(bytes: [UInt8]) { self.bytes = bytes }

        mutating func scan() throws(ContractError) {
            while index < bytes.count {
                let byte = bytes[index]
                switch byte {
                case UInt8(ascii: "{"):
                    open.append([])
                    expectsKey = true
                    index += 1
                case UInt8(ascii: "["):
                    open.append(nil)
                    expectsKey = false
                    index += 1
                case UInt8(ascii: "}"), UInt8(ascii: "]"):
                    _ = open.popLast()
                    expectsKey = false
                    index += 1
                case UInt8(ascii: ","):
                    expectsKey = (open.last ?? nil) != nil
                    index += 1
                case UInt8(ascii: "\""):
                    let text = try string()
                    if expectsKey, !open.isEmpty {
                        if open[open.count - 1]?.insert(text).inserted == false {
                            throw ContractError(
                                "duplicate member \"\(String(decoding: text.prefix(60), as: UTF8.self))\"")
                        }
                        expectsKey = false
                    }
                case 0: throw ContractError("contains a NUL")
                default: index += 1
                }
                if open.count > StrictJSON.depthMax { throw ContractError("nested deeper than \(StrictJSON.depthMax)") }
            }
        }

        /// Reads a string and returns it unescaped.
        private mutating func string() throws(ContractError) -> [UInt8] {
            var text: [UInt8] = []
            index += 1
            while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
                if bytes[index] == 0 { throw ContractError("contains a NUL") }
                guard bytes[index] == UInt8(ascii: "\\") else {
                    text.append(bytes[index])
                    index += 1
                    continue
                }
                index += 1
                guard index < bytes.count else { break }
                if bytes[index] == UInt8(ascii: "u") {
                    text.append(contentsOf: try unicodeEscape())
                } else {
                    let escapes: [UInt8: UInt8] = [0x62: 8, 0x66: 12, 0x6e: 10, 0x72: 13, 0x74: 9]
                    text.append(escapes[bytes[index]] ?? bytes[index])
                    index += 1
                }
            }
            guard index < bytes.count else { throw ContractError("ends inside a string") }
            index += 1
            return text
        }

        private mutating func unicodeEscape() throws(ContractError) -> [UInt8] {
            let first = try codeUnit()
            var units = [first]
            if (0xd800...0xdbff).contains(first) {
                guard index + 1 < bytes.count, bytes[index] == UInt8(ascii: "\\"), bytes[index + 1] == UInt8(ascii: "u")
                else { throw ContractError("contains a lone surrogate") }
                index += 1
                let second = try codeUnit()
                guard (0xdc00...0xdfff).contains(second) else { throw ContractError("contains a lone surrogate") }
                units.append(second)
            } else if (0xdc00...0xdfff).contains(first) {
                throw ContractError("contains a lone surrogate")
            }
            if first == 0 { throw ContractError("contains a NUL") }
            return Array(String(decoding: units, as: UTF16.self).utf8)
        }

        /// Reads `uXXXX`, standing at the `u`.
        private mutating func codeUnit() throws(ContractError) -> UInt16 {
            guard index + 4 < bytes.count,
                let unit = UInt16(String(decoding: bytes[(index + 1)...(index + 4)], as: UTF8.self), radix: 16)
            else { throw ContractError("contains a malformed \\u escape") }
            index += 5
            return unit
        }
    }
}
