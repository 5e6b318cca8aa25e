/// How long to wait after each temporary refusal of one delivery. When it is used up, the delivery has expired.
struct RetrySchedule: Sendable, Equatable {
    let delays: [Duration]

    /// The pause before the next attempt, up to a tenth longer than the schedule says, so that what was refused together
    /// does not come back together; nil when no attempt follows.
    ///
    /// - Parameter deferrals: temporary refusals before this one.
    func pause(afterDeferrals deferrals: Int, using generator: inout some RandomNumberGenerator) -> Duration? {
        guard delays.indices.contains(deferrals) else { return nil }
        return delays[deferrals] * Double.random(in: 1...1.1, using: &generator)
    }

    func pause(afterDeferrals deferrals: Int) -> Duration? {
        var generator = SystemRandomNumberGenerator()
        return pause(afterDeferrals: deferrals, using: &generator)
    }
}
