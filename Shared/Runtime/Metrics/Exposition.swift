/// The spelling rules of the Prometheus text format.
enum Exposition {
    static func labels(_ labels: [String: String]) -> String {
        guard !labels.isEmpty else { return "" }
        let pairs = labels.sorted { $0.key < $1.key }.map { "\($0.key)=\"\(escaped(label: $0.value))\"" }
        return "{" + pairs.joined(separator: ",") + "}"
    }

    static func adding(_ name: String, _ value: String, to labels: String) -> String {
        let pair = "\(name)=\"\(escaped(label: value))\""
        return labels.isEmpty ? "{\(pair)}" : labels.dropLast() + ",\(pair)}"
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return Int(exactly: value).map(String.init) ?? String(value)
    }

    static func escaped(label: String) -> String {
        escaped(label, quote: true)
    }

    static func escaped(help: String) -> String {
        escaped(help, quote: false)
    }

    static func isMetricName(_ name: String) -> Bool {
        isName(name, colon: true)
    }

    static func isLabelName(_ name: String) -> Bool {
        isName(name, colon: false) && !name.hasPrefix("__")
    }

    /// Works on scalars: CR LF is one Character, and its line feed must be escaped too.
    private static func escaped(_ text: String, quote: Bool) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result.append(contentsOf: "\\\\".unicodeScalars)
            case "\n": result.append(contentsOf: "\\n".unicodeScalars)
            case "\"" where quote: result.append(contentsOf: "\\\"".unicodeScalars)
            default: result.append(scalar)
            }
        }
        return String(result)
    }

    private static func isName(_ name: String, colon: Bool) -> Bool {
        guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "_"): true
            case UInt8(ascii: ":"): colon
            default: false
            }
        }
    }
}
