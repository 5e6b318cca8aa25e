import Contracts

/// One line of an NDJSON list: a JSON object of texts, with the merge fields also inside `fields`.
enum RecipientObject {
    enum Value: Equatable {
        case text(String)
        case texts([String])
    }

    struct Member: Equatable {
        let name: String
        let value: Value
    }

    /// The members, those of `fields` as `field.<name>`; null counts as absent.
    static func members(of octets: [UInt8], line: Int) throws(ListFault) -> [Member] {
        let document: JSONValue
        do {
            document = try StrictJSON.decode(JSONValue.self, from: octets)
        } catch {
            throw ListFault(.malformed, line: line, reason: "the line is \(Self.words(error))")
        }
        guard case .object(let object) = document else {
            throw ListFault(.malformed, line: line, reason: "the line is not a JSON object")
        }
        var members: [Member] = []
        for (name, value) in object.sorted(by: { $0.key < $1.key }) {
            if name == "fields" {
                guard case .object(let fields) = value else {
                    throw ListFault(
                        .malformed, line: line, column: name, reason: "the member is not an object of texts")
                }
                for (field, value) in fields.sorted(by: { $0.key < $1.key }) {
                    try append(value, "field.\(field)", line, &members)
                }
            } else {
                try append(value, name, line, &members)
            }
        }
        return members
    }

    static func wrongType(_ line: Int) -> ListFault {
        ListFault(.malformed, line: line, reason: "the value is not a text")
    }

    private static func append(
        _ value: JSONValue, _ name: String, _ line: Int, _ members: inout [Member]
    ) throws(ListFault) {
        switch value {
        case .null: return
        case .text(let text): members.append(Member(name: name, value: .text(text)))
        case .array(let items):
            var texts: [String] = []
            for item in items {
                guard case .text(let text) = item else { throw placed(wrongType(line), name) }
                texts.append(text)
            }
            members.append(Member(name: name, value: .texts(texts)))
        default: throw placed(wrongType(line), name)
        }
    }

    private static func placed(_ fault: ListFault, _ name: String) -> ListFault {
        var placed = fault
        placed.column = String(name.prefix(100))
        return placed
    }

    private static func words(_ error: ContractError) -> String {
        error.reason == "not valid UTF-8" || error.reason.hasPrefix("not a JSON")
            ? error.reason : "not acceptable JSON: \(error.reason)"
    }
}
