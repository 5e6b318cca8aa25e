/// A statement of common table expressions that may be joined to another one, to be one transaction and one round trip.
struct StatementParts {
    let with: String
    let answer: String

    var text: String { "WITH \(with)\n\(answer)" }

    /// Both at once: `self` answers with one row, beside every row of the other's answer, or alone when that has none.
    ///
    /// - Parameter parameters: how many `self` has; the other's come after them.
    func text(beside other: StatementParts, after parameters: Int) -> String {
        """
        WITH \(with), \(Self.renumber(other.with, by: parameters))
        SELECT * FROM (\(answer)) AS one LEFT JOIN (\(Self.renumber(other.answer, by: parameters))) AS other ON true
        """
    }

    private static func renumber(_ text: String, by offset: Int) -> String {
        text.replacing(/\$([0-9]+)/) { match in "$\((Int(match.1) ?? 0) + offset)" }
    }
}
