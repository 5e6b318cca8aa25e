import Delivery

/// The machine's conditions and results as the statements need them. Rows are aliases of `attempt`.
extension AttemptMachine {
    /// True for a row that the event may change.
    static func admits(_ event: AttemptEvent, _ row: String) -> String {
        let admitted = standings.filter { move($0, event) != nil }
        let (due, settled) = (admitted.filter(\.isDue).map(\.state), admitted.filter { !$0.isDue }.map(\.state))
        let mayBeDue = standings.filter(\.isDue).map(\.state)
        let always = settled.filter { due.contains($0) || !mayBeDue.contains($0) }
        let groups = [
            state(of: row, in: always),
            state(of: row, in: due.filter { !always.contains($0) }).map { "\($0) AND \(row).next_at IS NOT NULL" },
            state(of: row, in: settled.filter { !always.contains($0) }).map { "\($0) AND \(row).next_at IS NULL" },
        ].compactMap(\.self)
        return groups.isEmpty ? "false" : "(\(groups.joined(separator: " OR ")))"
    }

    /// The same for the event that `column` names; false for any that is not among `events`.
    static func admits(oneOf events: [AttemptEvent], named column: String, _ row: String) -> String {
        choice(of: events, named: column, otherwise: "false") { admits($0, row) }
    }

    /// True when `column` names one of those events that release the claim.
    static func releases(oneOf events: [AttemptEvent], named column: String) -> String {
        let releasing = events.filter { result(of: $0)?.claim == .released }
        return "\(column) IN (\(releasing.map { "'\($0.rawValue)'" }.joined(separator: ", ")))"
    }

    /// The columns of a row after an event that states one fact.
    static func becomes(_ event: AttemptEvent) -> String { "state = \(state(event)), fact = \(fact(event))" }

    static func state(_ event: AttemptEvent) -> String {
        result(of: event).map { "'\($0.to.state.rawValue)'" } ?? "NULL"
    }

    static func fact(_ event: AttemptEvent) -> String {
        (result(of: event)?.facts.first).map { "\($0.rawValue)" } ?? "NULL"
    }

    private static func state(of row: String, in states: [AttemptState]) -> String? {
        let words = states.map { "'\($0.rawValue)'" }
        guard let first = words.first else { return nil }
        return words.count == 1 ? "\(row).state = \(first)" : "\(row).state IN (\(words.joined(separator: ", ")))"
    }

    private static func choice(
        of events: [AttemptEvent], named column: String, otherwise: String, _ text: (AttemptEvent) -> String
    ) -> String {
        let branches = events.map { "WHEN '\($0.rawValue)' THEN \(text($0))" }
        return "CASE \(column) \(branches.joined(separator: " ")) ELSE \(otherwise) END"
    }
}
