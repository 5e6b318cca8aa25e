import Runtime

/// "Did you mean": the name that differs least from a mistyped one.
enum Nearest {
    /// Nil when none is within three changes.
    static func name(to text: String, among names: some Sequence<String>) -> String? {
        let wanted = text.lowercased()
        return names.map { ($0, EditDistance.between($0, wanted)) }.min { $0.1 < $1.1 }
            .flatMap { $0.1 <= 3 ? $0.0 : nil }
    }
}
