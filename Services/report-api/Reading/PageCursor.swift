import Delivery
import Runtime
import Signing

/// Where a page of a list begins, as a text that clients hand back and never read.
enum PageCursor {
    static func encode(recipient number: Int32) -> String {
        Base64URL.encode(Array("r\(number)".utf8))
    }

    static func encode(blast: BlastID) -> String { Base64URL.encode(Array("b\(blast)".utf8)) }

    static func encode(address: String) -> String { Base64URL.encode(Array("a\(address)".utf8)) }

    static func recipient(_ text: String?) throws(Problem) -> Int32 {
        guard let text else { return 0 }
        guard let number = Int32(try content(text, "r")), number > 0 else { throw broken }
        return number
    }

    static func blast(_ text: String?) throws(Problem) -> BlastID? {
        guard let text else { return nil }
        guard let blast = BlastID(try content(text, "b")) else { throw broken }
        return blast
    }

    static func address(_ text: String?) throws(Problem) -> String {
        guard let text else { return "" }
        return try content(text, "a")
    }

    private static func content(_ text: String, _ kind: String) throws(Problem) -> String {
        guard text.utf8.count <= 1024, let bytes = Base64URL.decode(text), Base64URL.encode(bytes) == text,
            let content = String(validating: bytes, as: UTF8.self), content.hasPrefix(kind),
            !content.utf8.contains(0)
        else { throw broken }
        return String(content.dropFirst())
    }

    private static let broken = ReportProblems.parameter(
        "cursor", "is not one that this list gave out; begin without it")
}
