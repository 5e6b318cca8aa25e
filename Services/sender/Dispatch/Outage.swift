import Logging

/// Says once that something began to fail and once that it works again.
struct Outage {
    private let what: String
    private let logger: Logger
    private var began: ContinuousClock.Instant?

    init(_ what: String, _ logger: Logger) {
        self.what = what
        self.logger = logger
    }

    mutating func failed(_ error: any Error) {
        guard began == nil else { return }
        began = .now
        logger.error("\(what) fails; it is tried again until it works", metadata: ["cause": "\(error)"])
    }

    mutating func worked() {
        guard let began else { return }
        self.began = nil
        let seconds = began.duration(to: .now).components.seconds
        logger.notice("\(what) works again", metadata: ["outage_s": "\(seconds)"])
    }
}
