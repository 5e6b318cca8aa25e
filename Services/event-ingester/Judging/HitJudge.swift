import Delivery

/// Tells people from machines among the opens and clicks of one delivery.
///
/// A set of facts cannot take an open back, so nothing is asserted before the quiet window has passed. Hits closer to
/// each other than the window are one burst and judged together. A burst is a machine's when two different links were
/// clicked within a second, when the picture and the only link were fetched within a second, when a hit was a `HEAD`, or
/// when a user agent is one of ``MachineAgents``. A person's click does not imply an open: pictures may be switched off.
enum HitJudge {
    struct Observation: Sendable, Hashable {
        let kind: Hit.Kind
        let link: Int16?
        let atMicroseconds: Int64
        let method: String
        let userAgent: String?
    }

    /// No person does two different things with a message in less.
    static let instant = Duration.seconds(1)

    /// What each hit is, in the order given.
    ///
    /// - Parameter linkCount: how many tracked links the message has.
    static func facts(of hits: [Observation], linkCount: Int, quietWindow: Duration) -> [DeliveryFact] {
        let order = hits.indices.sorted { (hits[$0].atMicroseconds, $0) < (hits[$1].atMicroseconds, $1) }
        var facts = [DeliveryFact](repeating: .machineOpen, count: hits.count)
        var burst: [Int] = []
        func settle() {
            let isMachine = isMachine(burst.map { hits[$0] }, linkCount: linkCount)
            for index in burst {
                facts[index] =
                    switch (hits[index].kind, isMachine) {
                    case (.open, false): .opened
                    case (.click, false): .clicked
                    case (.open, true): .machineOpen
                    case (.click, true): .machineClick
                    }
            }
            burst = []
        }
        for index in order {
            if let last = burst.last, !isWithin(quietWindow, hits[last], hits[index], orEqual: false) { settle() }
            burst.append(index)
        }
        settle()
        return facts
    }

    /// - Parameter burst: in the order of time, so that anything two hits show within an instant, neighbours show.
    private static func isMachine(_ burst: [Observation], linkCount: Int) -> Bool {
        if burst.contains(where: { $0.method == "HEAD" || $0.userAgent.map(MachineAgents.contains) == true }) {
            return true
        }
        let clicks = burst.filter { $0.kind == .click }
        if zip(clicks, clicks.dropFirst()).contains(where: { $0.link != $1.link && isWithin(instant, $0, $1) }) {
            return true
        }
        return linkCount == 1
            && zip(burst, burst.dropFirst()).contains { $0.kind != $1.kind && isWithin(instant, $0, $1) }
    }

    private static func isWithin(
        _ duration: Duration, _ earlier: Observation, _ later: Observation, orEqual: Bool = true
    ) -> Bool {
        let gap = Duration.microseconds(later.atMicroseconds - earlier.atMicroseconds)
        return orEqual ? gap <= duration : gap < duration
    }
}
