import Contracts
import Delivery
import Synchronization

/// A statement that names the partitions of the day on which its blasts were made.
///
/// Through the parent table the server opens every day's partition and index before it knows that one is meant, which
/// costs a statement about few rows more than the rows do. Each day's text is prepared once per connection.
final class DayStatement: Sendable {
    private static let kept = 64

    private let text: @Sendable (_ day: String) -> String
    private let texts = Mutex<[Int64: String]>([:])

    /// - Parameter text: the statement, given what the names of the day's partitions end in (`_20261122`).
    init(_ text: @escaping @Sendable (_ day: String) -> String) { self.text = text }

    func callAsFunction(_ blast: BlastID) -> String {
        let day = Self.day(of: blast)
        return texts.withLock { texts in
            if let known = texts[day] { return known }
            if texts.count >= Self.kept { texts.removeAll() }
            let made = text(Self.suffix(day))
            texts[day] = made
            return made
        }
    }

    /// Days since 1970 in UTC: a blast's id begins with the milliseconds.
    static func day(of blast: BlastID) -> Int64 { Int64(blast.high >> 16) / 86_400_000 }

    private static func suffix(_ day: Int64) -> String {
        let date = Timestamp.string(microseconds: day * 86_400_000_000).utf8.prefix(10)
        return "_" + String(decoding: date.filter { $0 != UInt8(ascii: "-") }, as: UTF8.self)
    }
}
