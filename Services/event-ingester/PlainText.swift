/// Text from outside as one line that can be stored and shown.
enum PlainText {
    /// Control, bidirectional and line-breaking characters become spaces; at most `octets` octets, cut at a character.
    static func line(_ text: String, octets: Int) -> String {
        var line = String.UnicodeScalarView()
        var size = 0
        for scalar in text.unicodeScalars {
            size += UTF8.width(scalar)
            guard size <= octets else { break }
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: line.append(" ")
            default: line.append(scalar)
            }
        }
        return String(line)
    }

    /// The line without the words that contain an at sign, which may be addresses.
    static func withoutAddresses(_ line: String) -> String {
        line.split(separator: " ").filter { !$0.utf8.contains(UInt8(ascii: "@")) }.joined(separator: " ")
    }
}
