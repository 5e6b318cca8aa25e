import Signing

/// A link in a message that is the recipient's own, written as a tag of a template.
///
/// A template is rendered with a stand-in that is the same for everybody, so that the content's identity (K-04) does not
/// depend on who reads it; the link itself is put in afterwards.
enum PersonalLink: String, CaseIterable, Sendable {
    case unsubscribe = "unsubscribe_url"
    case acknowledge = "acknowledge_url"
    case respond = "respond_url"

    static let names = Set(allCases.map(\.rawValue))

    /// Needs no escaping anywhere and ends in a letter that no merge value can continue into another stand-in.
    var standIn: String { "https://link.rollcall.invalid/\(rawValue)" }

    /// The letter of the ingester's route.
    var route: Unicode.Scalar {
        switch self {
        case .unsubscribe: "u"
        case .acknowledge: "a"
        case .respond: "r"
        }
    }

    var purpose: LinkToken.Purpose {
        switch self {
        case .unsubscribe: .unsubscribe
        case .acknowledge: .acknowledge
        case .respond: .respond
        }
    }

    static let standIns = Dictionary(uniqueKeysWithValues: allCases.map { ($0.rawValue, $0.standIn) })

    /// Replaces the stand-ins, octet by octet: a merge value behind one may begin with a combining character.
    static func resolve(_ text: String, _ link: (PersonalLink) -> String) -> String {
        let octets = Array(text.utf8)
        var result: [UInt8] = []
        var copied = 0
        var index = 0
        while let start = next(in: octets, from: index) {
            let name = octets[(start + prefix.count)...]
            guard let found = allCases.first(where: { name.starts(with: $0.rawValue.utf8) }) else {
                index = start + 1
                continue
            }
            result += octets[copied..<start]
            result += Array(link(found).utf8)
            index = start + prefix.count + found.rawValue.utf8.count
            copied = index
        }
        guard copied > 0 else { return text }
        return String(decoding: result + octets[copied...], as: UTF8.self)
    }

    /// How many stand-ins there are, and beginnings of such.
    static func count(in octets: [UInt8]) -> Int {
        var (count, index) = (0, 0)
        while let start = next(in: octets, from: index) {
            count += 1
            index = start + prefix.count
        }
        return count
    }

    private static let prefix = Array("https://link.rollcall.invalid/".utf8)

    /// By an octet how far the prefix can be moved on when that octet is at its end (Horspool).
    private static let steps = prefix.dropLast().enumerated().reduce(into: Array(repeating: prefix.count, count: 256)) {
        $0[Int($1.element)] = prefix.count - 1 - $1.offset
    }

    private static func next(in octets: [UInt8], from start: Int) -> Int? {
        let (prefix, steps) = (prefix, steps)
        var end = start + prefix.count - 1
        while end < octets.count {
            if octets[end] == prefix[prefix.count - 1],
                octets[(end - prefix.count + 1)...end].elementsEqual(prefix)
            {
                return end - prefix.count + 1
            }
            end += steps[Int(octets[end])]
        }
        return nil
    }
}
