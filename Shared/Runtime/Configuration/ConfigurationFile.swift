internal import Foundation

/// A configuration file: one JSON object, nested as the keys are dotted.
///
/// `{"kafka": {"bootstrap": "localhost:9092"}}` and `{"kafka.bootstrap": "localhost:9092"}` say the same. Values are
/// texts, whole numbers, booleans and arrays of them. A key given twice is refused, because JSON readers do not agree on
/// which one counts.
public struct ConfigurationFile: Sendable {
    public let values: [String: SettingText]

    /// Largest file read; a configuration is a few kilobytes.
    public static let maximumBytes = 1 << 20

    public init(path: String) throws(ConfigurationError) {
        let data: Data
        do {
            data = try Data(contentsOf: URL(fileURLWithPath: path))
        } catch {
            throw ConfigurationError(subject: path, explanation: "cannot be read: \(error.localizedDescription)")
        }
        guard data.count <= Self.maximumBytes else {
            throw ConfigurationError(
                subject: path, explanation: "is \(data.count) bytes; at most \(Self.maximumBytes) are read")
        }
        try self.init(json: Array(data), name: path)
    }

    /// - Parameter name: what error messages call the file.
    public init(json: [UInt8], name: String = "configuration file") throws(ConfigurationError) {
        var reader = ConfigurationReader(bytes: json)
        do {
            values = try reader.read()
        } catch {
            let (line, column) = reader.position(of: error.offset)
            throw ConfigurationError(
                subject: "\(name), line \(line), column \(column)", explanation: error.explanation)
        }
    }
}

/// The part of JSON that a configuration needs, with positions in its errors.
struct ConfigurationReader {
    struct Failure: Error {
        let offset: Int
        let explanation: String
    }

    let bytes: [UInt8]
    private var index = 0
    private var values: [String: SettingText] = [:]

    init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    func position(of offset: Int) -> (line: Int, column: Int) {
        let before = bytes.prefix(offset)
        let line = before.count { $0 == 0x0A } + 1
        let column = offset - (before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0) + 1
        return (line, column)
    }

    mutating func read() throws(Failure) -> [String: SettingText] {
        guard next() == UInt8(ascii: "{") else { throw failure("a configuration file begins with {") }
        try object(prefix: "", depth: 1)
        guard next() == nil else { throw failure("nothing may follow the closing }") }
        return values
    }

    private mutating func object(prefix: String, depth: Int) throws(Failure) {
        guard depth <= 8 else { throw failure("objects are nested more than 8 deep") }
        index += 1
        if next() == UInt8(ascii: "}") {
            index += 1
            return
        }
        while true {
            guard next() == UInt8(ascii: "\"") else { throw failure("expected a key in double quotes") }
            let keyOffset = index
            let key = prefix + (try string())
            guard next() == UInt8(ascii: ":") else { throw failure("expected : after the key") }
            index += 1
            if next() == UInt8(ascii: "{") {
                try object(prefix: key + ".", depth: depth + 1)
            } else {
                let value = try setting()
                guard values.updateValue(value, forKey: key) == nil else {
                    throw Failure(offset: keyOffset, explanation: "\(key) is given twice")
                }
            }
            switch next() {
            case UInt8(ascii: ","): index += 1
            case UInt8(ascii: "}"):
                index += 1
                return
            default: throw failure("expected , or }")
            }
        }
    }

    private mutating func setting() throws(Failure) -> SettingText {
        guard next() == UInt8(ascii: "[") else { return .text(try scalar()) }
        index += 1
        var items: [String] = []
        if next() == UInt8(ascii: "]") {
            index += 1
            return .list([])
        }
        while true {
            items.append(try scalar())
            switch next() {
            case UInt8(ascii: ","): index += 1
            case UInt8(ascii: "]"):
                index += 1
                return .list(items)
            default: throw failure("expected , or ]")
            }
        }
    }

    private mutating func scalar() throws(Failure) -> String {
        if next() == UInt8(ascii: "\"") { return try string() }
        let start = index
        while index < bytes.count, Self.isWord(bytes[index]) { index += 1 }
        let word = String(decoding: bytes[start..<index], as: UTF8.self)
        if word == "true" || word == "false" || Int(word) != nil { return word }
        index = start
        throw failure("expected a text in double quotes, a whole number, true, false or an array of them")
    }

    private mutating func string() throws(Failure) -> String {
        let start = index
        index += 1
        while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
            guard bytes[index] >= 0x20 else { throw failure("a text may not contain a bare control character") }
            index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1
        }
        guard index < bytes.count else {
            index = bytes.count
            throw Failure(offset: start, explanation: "this text has no closing quote")
        }
        index += 1
        guard let text = try? JSONDecoder().decode(String.self, from: Data(bytes[start..<index])) else {
            throw Failure(offset: start, explanation: "this text has a bad escape or is not UTF-8")
        }
        return text
    }

    /// The next byte that is no white space, without taking it.
    private mutating func next() -> UInt8? {
        while index < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[index]) { index += 1 }
        return index < bytes.count ? bytes[index] : nil
    }

    private func failure(_ explanation: String) -> Failure { Failure(offset: index, explanation: explanation) }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."): true
        default: false
        }
    }
}
