import Delivery

/// Shows the counts of a blast, from the report API, until its work is done.
struct BlastWatch {
    let client: APIClient
    let blast: BlastID
    let vocabulary: String?
    let untilSettled: Bool
    var timeoutSeconds: Int?

    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    struct Counts: Decodable {
        struct Word: Decodable {
            let word: String
            let n: Int
        }
        let state: String
        let waits_for: String?
        let audience: Int
        /// Deliveries of which more is expected.
        let open: Int
        let words: [Word]
    }

    func run() async throws {
        let deadline = timeoutSeconds.map { ContinuousClock.now + .seconds($0) }
        var tag: String?
        var last = ""
        var outages = 0
        while true {
            do {
                let answer = try await client.get(
                    "v1/blasts/\(blast)/counts", query: vocabulary.map { ["vocabulary": $0] } ?? [:],
                    headers: tag.map { ["If-None-Match": $0] } ?? [:])
                outages = 0
                if answer.status != 304 {
                    tag = answer.headers["etag"]
                    let counts = try answer.decoded(Counts.self)
                    let line = Self.line(counts)
                    show(counts, line, changed: line != last)
                    last = line
                    if counts.state == "settled" || (counts.state == "sent" && !untilSettled) {
                        if Terminal.isInteractive { Terminal.say("") }
                        return
                    }
                }
            } catch let failure as Failure where failure.code == Failure.unavailable && outages < 60 {
                // The report may restart while a blast is sent.
                outages += 1
            }
            if let deadline, ContinuousClock.now >= deadline {
                if outages > 0 { throw Failure("the report does not answer", code: Failure.unavailable) }
                throw Failure("the time is up and the blast is not \(untilSettled ? "settled" : "sent") yet: \(last)")
            }
            try await Task.sleep(for: Terminal.isInteractive ? .milliseconds(500) : .seconds(1))
        }
    }

    private func show(_ counts: Counts, _ line: String, changed: Bool) {
        if Terminal.isInteractive {
            Terminal.redraw("\(Self.bar(counts)) \(line)")
        } else if changed {
            Terminal.say(line)
        }
    }

    static func line(_ counts: Counts) -> String {
        let words = counts.words.filter { $0.n > 0 }.map { "\(Terminal.plain($0.word)) \($0.n)" }
        let waits = counts.waits_for.map { "; waits for \(Terminal.plain($0))" } ?? ""
        return "\(counts.state), \(counts.audience) recipients: \(words.joined(separator: ", "))\(waits)"
    }

    /// How much of the audience has come to its end.
    static func bar(_ counts: Counts, width: Int = 30) -> String {
        guard counts.audience > 0 else { return "" }
        let done = min(width, max(0, (counts.audience - counts.open) * width / counts.audience))
        return "[" + String(repeating: "#", count: done) + String(repeating: ".", count: width - done) + "]"
    }
}
