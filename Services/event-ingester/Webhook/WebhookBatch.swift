import Contracts

/// Cuts the body of a webhook, `{"events":[…]}`, into the octets of its events without reading these.
///
/// Each event is then read by itself, so that one with a NUL, an invalid octet or a duplicate member spoils only
/// itself, and the others of its batch are applied.
struct WebhookBatch {
    private let bytes: [UInt8]
    private var index = 0

    /// - Throws: what is wrong with the document around the events.
    static func events(in body: [UInt8]) throws(ContractError) -> [ArraySlice<UInt8>] {
        var batch = WebhookBatch(bytes: body)
        return try batch.document()
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private mutating func document() throws(ContractError) -> [ArraySlice<UInt8>] {
        guard take("{") else { throw ContractError("the body is not a JSON object") }
        var events: [ArraySlice<UInt8>]?
        if !take("}") {
            repeat {
                skipSpace()
                guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else {
                    throw ContractError("a member of the document has no name")
                }
                let start = index
                try skipString()
                let name = bytes[(start + 1)..<(index - 1)]
                guard take(":") else { throw ContractError("a member of the document has no value") }
                if name.elementsEqual("events".utf8) {
                    guard events == nil else { throw ContractError("duplicate member \"events\"") }
                    events = try elements()
                } else {
                    _ = try value()
                }
            } while take(",")
            guard take("}") else { throw ContractError("the document does not end") }
        }
        skipSpace()
        guard index == bytes.count else { throw ContractError("something follows the document") }
        guard let events else { throw ContractError("missing member \"events\"") }
        return events
    }

    private mutating func elements() throws(ContractError) -> [ArraySlice<UInt8>] {
        guard take("[") else { throw ContractError("\"events\" is not an array") }
        if take("]") { return [] }
        var elements: [ArraySlice<UInt8>] = []
        repeat { elements.append(try value()) } while take(",")
        guard take("]") else { throw ContractError("\"events\" does not end") }
        return elements
    }

    /// The octets up to the comma or bracket that ends a value.
    private mutating func value() throws(ContractError) -> ArraySlice<UInt8> {
        skipSpace()
        let start = index
        var depth = 0
        scan: while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "\""):
                try skipString()
                continue
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                if depth == 0 { break scan }
                depth -= 1
            case UInt8(ascii: ",") where depth == 0: break scan
            default: break
            }
            index += 1
        }
        guard depth == 0, index < bytes.count else { throw ContractError("the document does not end") }
        guard index > start else { throw ContractError("a value is missing") }
        return bytes[start..<index]
    }

    /// Stands at the opening quote, then behind the closing one.
    private mutating func skipString() throws(ContractError) {
        index += 1
        while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
            index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1
        }
        guard index < bytes.count else { throw ContractError("the document ends inside a string") }
        index += 1
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard index < bytes.count, bytes[index] == UInt8(ascii: character) else { return false }
        index += 1
        return true
    }

    private mutating func skipSpace() {
        while index < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[index]) { index += 1 }
    }
}
