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

    /// Texts from elsewhere, without control characters that could repaint the terminal.
    static func plain(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{FFFD}" : $0 }))
    }
}
