/// Waits until `condition` holds, looking every `interval`; tests never sleep for a guess.
///
/// The deadline is for what never happens, not for what is slow: it leaves a busy machine time.
///
/// - Throws: `TestKitError` naming `what` and the last value seen when `deadline` has passed.
public func eventually<Value: Sendable>(
    _ what: String, within deadline: Duration = .seconds(120), every interval: Duration = .milliseconds(50),
    _ probe: () async throws -> Value, until condition: (Value) -> Bool
) async throws -> Value {
    let clock = ContinuousClock()
    let end = clock.now + deadline
    while true {
        let value = try await probe()
        if condition(value) { return value }
        guard clock.now < end else { throw TestKitError("\(what): not within \(deadline); last seen: \(value)") }
        try await clock.sleep(for: interval)
    }
}

public func eventually(
    _ what: String, within deadline: Duration = .seconds(120), every interval: Duration = .milliseconds(50),
    _ condition: () async throws -> Bool
) async throws {
    _ = try await eventually(what, within: deadline, every: interval, condition, until: { $0 })
}
