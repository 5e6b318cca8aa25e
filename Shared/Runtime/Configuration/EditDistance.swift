/// The number of single-byte insertions, deletions and replacements between two names, for "did you mean".
public enum EditDistance {
    public static func between(_ first: String, _ second: String) -> Int {
        let (left, right) = (Array(first.utf8), Array(second.utf8))
        guard abs(left.count - right.count) <= 3 else { return Int.max }
        var previous = Array(0...right.count)
        for (row, leftByte) in left.enumerated() {
            var current = [row + 1]
            for (column, rightByte) in right.enumerated() {
                let replaced = previous[column] + (leftByte == rightByte ? 0 : 1)
                current.append(min(replaced, previous[column + 1] + 1, current[column] + 1))
            }
            previous = current
        }
        return previous[right.count]
    }
}
