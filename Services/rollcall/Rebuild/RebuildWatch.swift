import Contracts
import Postgres

/// Shows how far a second projection is until it is complete.
struct RebuildWatch {
    let schema: RebuildSchema
    let timeoutSeconds: Int?

    struct Progress: Sendable {
        struct Part: Sendable {
            let part: Int32
            let next: Int64
            let until: Int64
        }
        let parts: [Part]
        /// Why it cannot go on.
        let impossible: String?

        var total: Int64 { parts.reduce(0) { $0 + $1.until } }
        var done: Int64 { parts.reduce(0) { $0 + min($1.next, $1.until) } }
        var remaining: Int64 { total - done }
    }

    static func progress(of schema: RebuildSchema) async throws -> Progress {
        let rows = try await schema.connection.query(
            """
            SELECT c.part, p.next_offset, c.until_offset, i.reason
              FROM \(schema.schema).rebuild_cut c
              JOIN \(schema.schema).projector_partition p ON p.part = c.part AND p.projection = $1
              LEFT JOIN \(schema.schema).projector_incident i ON i.part = c.part AND i.projection = $1
             ORDER BY c.part
            """, [.text(schema.name.text)])
        return Progress(
            parts: try rows.map {
                Progress.Part(
                    part: try $0.int32("part"), next: try $0.int("next_offset"), until: try $0.int("until_offset"))
            },
            impossible: try rows.lazy.compactMap { row in
                try row.optionalString("reason").map { "partition \(try row.int("part")): \($0)" }
            }.first)
    }

    func run() async throws {
        let began = ContinuousClock.now
        let first = try await Self.progress(of: schema)
        var last = ""
        while true {
            let progress = try await Self.progress(of: schema)
            let seconds = (ContinuousClock.now - began) / .seconds(1)
            let line = Self.line(progress, projected: progress.done - first.done, seconds: seconds)
            if Terminal.isInteractive {
                Terminal.redraw(line)
            } else if line != last {
                Terminal.say(line)
            }
            last = line
            if progress.remaining == 0 {
                if Terminal.isInteractive { Terminal.say("") }
                return Terminal.say("complete: compare it with 'rollcall rebuild compare \(schema.name)'")
            }
            if let reason = progress.impossible { throw Failure("it cannot go on: \(Terminal.escaped(reason))") }
            if let timeoutSeconds, seconds >= Double(timeoutSeconds) { throw Failure("the time is up: \(line)") }
            try await Task.sleep(for: .seconds(1))
        }
    }

    static func line(_ progress: Progress, projected: Int64, seconds: Double) -> String {
        let rate = seconds > 0 ? Double(projected) / seconds : 0
        let share = progress.total > 0 ? progress.done * 100 / progress.total : 100
        let eta =
            rate > 0 ? "about \(Int(Double(progress.remaining) / rate) + 1) s left" : "no projector has moved it yet"
        let offsets = progress.parts.map { "\($0.part): \($0.next)/\($0.until)" }.joined(separator: ", ")
        return "\(progress.done) of \(progress.total) records (\(share) %), \(Int(rate))/s, "
            + (progress.remaining == 0 ? "done" : eta) + "; offsets \(offsets)"
    }
}
