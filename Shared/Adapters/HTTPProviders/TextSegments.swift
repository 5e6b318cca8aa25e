/// How many parts a text message is sent in, which is what providers charge for.
///
/// GSM 03.38: 160 septets in one part, 153 in each of several; a character of the extension table takes two and is not
/// divided. One character outside both tables makes it UCS-2: 70 units in one part, 67 in each of several.
public struct TextSegments: Sendable, Equatable {
    public enum Encoding: String, Sendable {
        case gsm7 = "GSM-7"
        case ucs2 = "UCS-2"
    }

    public let encoding: Encoding
    /// Septets or UTF-16 units.
    public let units: Int
    public let count: Int

    private static let basic = Set(
        ("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
            + "abcdefghijklmnopqrstuvwxyzäöñüà").unicodeScalars)
    private static let extended = Set("\u{0C}^{}\\[~]|€".unicodeScalars)

    public init(_ text: String) {
        let scalars = text.unicodeScalars
        let isBasic = scalars.allSatisfy { Self.basic.contains($0) || Self.extended.contains($0) }
        let widths =
            isBasic
            ? scalars.map { Self.extended.contains($0) ? 2 : 1 } : scalars.map { $0.value > 0xFFFF ? 2 : 1 }
        encoding = isBasic ? .gsm7 : .ucs2
        units = widths.reduce(0, +)
        guard units > (isBasic ? 160 : 70) else {
            count = units == 0 ? 0 : 1
            return
        }
        let size = isBasic ? 153 : 67
        var parts = 1
        var used = 0
        for width in widths {
            if used + width > size { (parts, used) = (parts + 1, 0) }
            used += width
        }
        count = parts
    }
}
