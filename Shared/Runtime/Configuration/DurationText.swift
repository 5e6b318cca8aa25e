/// Durations as operators write them: a whole number and a unit.
public enum DurationText {
    private static let units: [(name: String, microseconds: Int64)] = [
        ("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1),
    ]

    /// Nil for anything that is not digits and a unit (`us`, `ms`, `s`, `m`, `h`, `d`).
    public static func parse(_ text: String) -> Duration? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let count = Int64(digits) else { return nil }
        let unit = text[digits.endIndex...]
        guard let scale = units.first(where: { $0.name == unit })?.microseconds else { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: scale)
        return overflow ? nil : .microseconds(product)
    }

    public static func print(_ duration: Duration) -> String {
        let parts = duration.components
        let microseconds = parts.seconds * 1_000_000 + parts.attoseconds / 1_000_000_000_000
        if microseconds == 0 { return "0s" }
        for unit in units where microseconds % unit.microseconds == 0 {
            return "\(microseconds / unit.microseconds)\(unit.name)"
        }
        return "\(microseconds)us"
    }
}
