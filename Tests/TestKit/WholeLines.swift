public import Foundation

extension URL {
    /// The lines of a file that another process still writes to. The last one counts once its line end is there.
    public func wholeLines() throws -> [Data] {
        var lines = try Data(contentsOf: self).split(separator: 0x0A, omittingEmptySubsequences: false)
        lines.removeLast()
        return lines.filter { !$0.isEmpty }
    }
}
