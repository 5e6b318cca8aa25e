import Foundation
import Glibc

/// What the tool writes, and where: results to standard output, everything else to standard error.
enum Terminal {
    /// A person is looking, so a line may be redrawn.
    static var isInteractive: Bool { isatty(STDERR_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 }

    static func say(_ line: String) { write(line + "\n", to: .standardOutput) }

    static func complain(_ line: String) { write(line + "\n", to: .standardError) }

    /// Replaces the line that stands on the terminal.
    static func redraw(_ line: String) { write("\r\u{1B}[2K" + line, to: .standardOutput) }

    private static func write(_ text: String, to handle: FileHandle) {
        try? handle.write(contentsOf: Data(text.utf8))
    }

    /// Texts from elsewhere, such as what a mail server said, made safe for a terminal.
    static func plain(_ text: String) -> String { escaped(text) }

    /// Any octets as one line of text: what is not UTF-8 in hexadecimal, and everything invisible or that moves the
    /// cursor or the direction of writing as its number.
    static func escaped(_ octets: [UInt8]) -> String {
        guard let text = String(validating: octets, as: UTF8.self) else {
            return "0x" + octets.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
        return escaped(text)
    }

    static func escaped(_ text: String) -> String {
        var escaped = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if isVisible(scalar) {
                escaped.append(scalar)
            } else {
                escaped.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
            }
        }
        return String(escaped)
    }

    static func isVisible(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        default: true
        }
    }
}
