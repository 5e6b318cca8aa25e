import Contracts
import Mail

/// One member of a request that cannot be accepted.
struct MemberFault: Error, Equatable {
    /// The member's path, such as `from.address`.
    let field: String
    let reason: String
    /// The octet of the value, from 1, where there is one to point at.
    var position: Int?
    /// The line of the value, from 1, for templates.
    var line: Int?
    /// The known name closest to an unknown one.
    var nearest: String?
}

/// Reads the members of a JSON object strictly and collects everything that is wrong with them, so that a client can
/// mend a request in one round.
struct MemberReader {
    private let members: [String: JSONValue]
    private let path: String
    private var known: [String] = []
    private(set) var faults: [MemberFault] = []

    init(_ members: [String: JSONValue], path: String = "") {
        self.members = members
        self.path = path
    }

    mutating func add(_ name: String, _ reason: String, position: Int? = nil, line: Int? = nil) {
        faults.append(MemberFault(field: path + name, reason: reason, position: position, line: line))
    }

    mutating func add(_ more: [MemberFault]) { faults += more }

    /// A text that is not empty; nil when it is absent, null or faulty.
    mutating func text(_ name: String, required: Bool = false, octets limit: Int, isOneLine: Bool = true) -> String? {
        guard let value = value(name, required: required) else { return nil }
        guard case .text(let text) = value else {
            add(name, "is not a text")
            return nil
        }
        guard !text.isEmpty else {
            add(name, required ? "is empty" : "is empty; leave it out instead")
            return nil
        }
        guard text.utf8.count <= limit else {
            add(name, "has \(text.utf8.count) octets; the limit is \(limit)")
            return nil
        }
        if isOneLine, let fault = headerFault(in: text) {
            add(name, fault.reason, position: fault.position)
            return nil
        }
        return text
    }

    mutating func word(_ name: String, oneOf words: [String]) -> String? {
        guard let text = text(name, octets: 100) else { return nil }
        guard words.contains(text) else {
            add(name, "is not one of \(words.joined(separator: ", "))")
            return nil
        }
        return text
    }

    /// A list of texts; nil when it is absent, null or faulty.
    mutating func texts(_ name: String) -> [String]? {
        guard let value = value(name, required: false) else { return nil }
        guard case .array(let items) = value, items.count <= 100 else {
            add(name, "is not a list of at most 100 texts")
            return nil
        }
        var texts: [String] = []
        for item in items {
            guard case .text(let text) = item else {
                add(name, "is not a list of texts")
                return nil
            }
            texts.append(text)
        }
        return texts
    }

    /// Texts of one line each, all different, in their order; nil when the member is absent, null or faulty.
    mutating func texts(_ name: String, count: ClosedRange<Int>, octets limit: Int) -> [String]? {
        guard let value = value(name, required: false) else { return nil }
        guard case .array(let items) = value, count.contains(items.count) else {
            add(name, "is not a list of \(count.lowerBound) to \(count.upperBound) texts")
            return nil
        }
        var texts: [String] = []
        var seen: Set<[UInt8]> = []
        for (index, item) in items.enumerated() {
            guard case .text(let text) = item, !text.isEmpty, text.utf8.count <= limit else {
                add("\(name)[\(index)]", "is not a text of 1 to \(limit) octets")
                return nil
            }
            if let fault = headerFault(in: text) {
                add("\(name)[\(index)]", fault.reason, position: fault.position)
                return nil
            }
            guard seen.insert(Array(text.utf8)).inserted else {
                add("\(name)[\(index)]", "stands in the list twice")
                return nil
            }
            texts.append(text)
        }
        return texts
    }

    mutating func whole(_ name: String, in range: ClosedRange<Int>, required: Bool = false) -> Int? {
        guard let value = value(name, required: required) else { return nil }
        guard case .number(let number) = value, let whole = Int(exactly: number), range.contains(whole) else {
            add(name, "is not a whole number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return whole
    }

    mutating func truth(_ name: String) -> Bool? {
        guard let value = value(name, required: false) else { return nil }
        guard case .truth(let truth) = value else {
            add(name, "is not true or false")
            return nil
        }
        return truth
    }

    mutating func object(_ name: String, required: Bool) -> MemberReader? {
        guard let value = value(name, required: required) else { return nil }
        guard case .object(let members) = value else {
            add(name, "is not an object")
            return nil
        }
        return MemberReader(members, path: path + name + ".")
    }

    mutating func address(_ name: String, required: Bool = false) -> EmailAddress? {
        guard let text = text(name, required: required, octets: 1_000) else { return nil }
        do {
            return try EmailAddress(parsing: text)
        } catch {
            add(name, error.reason)
            return nil
        }
    }

    /// Where a test message goes. What begins with + and has no at sign is a telephone number.
    mutating func destination(_ name: String) -> TestMessage.Destination? {
        guard case .text(let text) = members[name], text.utf8.first == UInt8(ascii: "+"),
            !text.utf8.contains(UInt8(ascii: "@"))
        else { return address(name, required: true).map { .mailbox($0) } }
        known.append(name)
        do {
            return .telephone(try PhoneNumber(parsing: text))
        } catch {
            add(name, error.reason)
            return nil
        }
    }

    /// Microseconds since 1970 UTC.
    mutating func time(_ name: String) -> Int64? {
        guard let text = text(name, octets: 64) else { return nil }
        guard let microseconds = Timestamp.microseconds(text) else {
            add(name, "is not a time such as 2026-11-21T20:00:00Z (RFC 3339)")
            return nil
        }
        return microseconds
    }

    /// Names every member that nobody asked for.
    mutating func refuseUnknown() {
        for name in members.keys.sorted() where !known.contains(name) {
            let nearest = Nearest.name(to: name, among: known)
            let hint = nearest.map { "; did you mean \($0)?" } ?? ""
            faults.append(
                MemberFault(
                    field: path + String(name.prefix(100)), reason: "is not a member of this request\(hint)",
                    nearest: nearest))
        }
    }

    private mutating func value(_ name: String, required: Bool) -> JSONValue? {
        known.append(name)
        switch members[name] {
        case nil, .some(.null):
            if required { add(name, "is required") }
            return nil
        case .some(let value): return value
        }
    }
}

extension MemberReader {
    /// How far ahead a blast may be scheduled.
    static let scheduleDays: Int64 = 30

    /// A time in the next 30 days, in microseconds since 1970 UTC.
    mutating func sendTime(_ name: String, nowMicroseconds now: Int64) -> Int64? {
        guard let at = time(name) else { return nil }
        if at <= now {
            add(name, "is not in the future; leave it out to send at once")
        } else if at > now + Self.scheduleDays * 86_400_000_000 {
            add(name, "is more than \(Self.scheduleDays) days ahead")
        }
        return at
    }
}
