import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Signing
import Synchronization

/// Tells the sending side what became of its messages, the way providers and readers do: signed webhook batches that
/// are repeated until they are answered 2xx, and visits to the pixel and the links of a message.
///
/// Everything still to be told holds a slot. When all slots are taken, the SMTP server holds back its 354.
final class Reporter: Sendable {
    struct Settings: Sendable {
        var webhookURL: String?
        var webhook: StandardWebhook?
        var capacity: Int
        var batchSize: Int
        var batchDelay: Duration
        var workers: Int
        var retryFor: Duration
        var duplicateShare: Double
        var shuffleWindow: Int64
        var seed: UInt64
    }

    struct Counts: Sendable {
        var pending = 0
        var reported = 0
        var duplicates = 0
        var lost = 0
        var visits = 0
        var failedVisits = 0
    }

    private struct Visit: Sendable {
        let request: HTTPClient.Request
    }

    private struct State {
        var counts = Counts()
        var waiting = CircularBuffer<(slots: Int, promise: EventLoopPromise<Void>)>()
        var generator: SeededGenerator
        var nextEvent = 0
    }

    private let settings: Settings
    private let http = HTTPClient()
    private let reports = WorkQueue<String>()
    private let visits = WorkQueue<[Visit]>()
    private let state: Mutex<State>
    private let started = Clock.microseconds()

    init(_ settings: Settings) {
        self.settings = settings
        state = Mutex(State(generator: SeededGenerator(seed: settings.seed)))
    }

    var counts: Counts { state.withLock { $0.counts } }

    /// Works until `close()` and until everything due has been told.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<settings.workers {
                group.addTask { await self.sendReports() }
                group.addTask { await self.sendVisits() }
                group.addTask { await self.sendVisits() }
            }
        }
    }

    func close() {
        reports.close()
        visits.close()
    }

    // MARK: Slots

    /// What will follow, with the deliberate repetitions and disorder put in.
    func plan(_ behaviour: Behaviour, _ delays: Delays) -> [FollowUp] {
        behaviour.followUps(delays).filter { followUp in
            if case .event = followUp.act { settings.webhookURL != nil } else { true }
        }.map { followUp in
            var followUp = followUp
            if case .event = followUp.act, settings.shuffleWindow > 0 {
                followUp.after += state.withLock { Int64.random(in: 0...settings.shuffleWindow, using: &$0.generator) }
            }
            return followUp
        }
    }

    func reserve(_ slots: Int, on eventLoop: any EventLoop) -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        let isFree = state.withLock { state in
            guard state.waiting.isEmpty, state.counts.pending + slots <= settings.capacity || slots == 0 else {
                state.waiting.append((slots, promise))
                return false
            }
            state.counts.pending += slots
            return true
        }
        if isFree { promise.succeed(()) }
        return promise.futureResult
    }

    func release(_ slots: Int) {
        let granted = state.withLock { state in
            state.counts.pending -= slots
            var granted: [EventLoopPromise<Void>] = []
            while let first = state.waiting.first, state.counts.pending + first.slots <= settings.capacity {
                state.counts.pending += first.slots
                granted.append(first.promise)
                state.waiting.removeFirst()
            }
            return granted
        }
        for promise in granted { promise.succeed(()) }
    }

    // MARK: Follow-ups

    /// Carries out a plan whose slots are reserved.
    func follow(_ plan: [FollowUp], message: [UInt8], delivery: String?, on eventLoop: any EventLoop) {
        let needsText = plan.contains { if case .event = $0.act { false } else { true } }
        let reader = needsText ? MessageReader(message) : nil
        let tracked = reader?.tracked
        for followUp in plan {
            switch followUp.act {
            case .event(let kind, let code, let enhanced, let detail):
                guard let delivery else {
                    release(1)
                    continue
                }
                eventLoop.scheduleTask(in: .milliseconds(followUp.after)) {
                    self.report(kind, delivery, code: code, enhanced: enhanced, detail: detail, on: eventLoop)
                }
            case .open(let agent):
                visit(tracked?.pixel.map { [$0] } ?? [], agent, after: followUp.after, on: eventLoop)
            case .clickAll(let agent): visit(tracked?.links ?? [], agent, after: followUp.after, on: eventLoop)
            case .clickOne(let agent):
                let link = state.withLock { tracked?.links.randomElement(using: &$0.generator) }
                visit(link.map { [$0] } ?? [], agent, after: followUp.after, on: eventLoop)
            case .unsubscribe:
                let request = reader?.oneClickURL.map { url in
                    HTTPClient.Request(
                        method: .POST, url: url,
                        headers: [
                            ("Content-Type", "application/x-www-form-urlencoded"),
                            ("User-Agent", Agent.provider.rawValue),
                        ], body: Array("List-Unsubscribe=One-Click".utf8))
                }
                schedule(request.map { [Visit(request: $0)] } ?? [], followUp.after, on: eventLoop)
            }
        }
    }

    private func visit(_ urls: [String], _ agent: Agent, after delay: Int64, on eventLoop: any EventLoop) {
        let visits = urls.map { url in
            Visit(request: HTTPClient.Request(method: .GET, url: url, headers: [("User-Agent", agent.rawValue)]))
        }
        schedule(visits, delay, on: eventLoop)
    }

    private func schedule(_ visits: [Visit], _ delay: Int64, on eventLoop: any EventLoop) {
        guard !visits.isEmpty else { return release(1) }
        eventLoop.scheduleTask(in: .milliseconds(delay)) { self.visits.append(visits) }
    }

    private func report(
        _ kind: EventKind, _ delivery: String, code: Int?, enhanced: String?, detail: String?,
        on eventLoop: any EventLoop
    ) {
        let (number, isRepeated, later) = state.withLock { state -> (Int, Bool, Int64) in
            state.nextEvent += 1
            let isRepeated = Double.random(in: 0..<1, using: &state.generator) < settings.duplicateShare
            if isRepeated {
                state.counts.duplicates += 1
                state.counts.pending += 1
            }
            return (state.nextEvent, isRepeated, Int64.random(in: 0...2_000, using: &state.generator))
        }
        var event = "{\"id\":\"evt-\(String(started, radix: 36))-\(number)\",\"type\":\"\(kind.rawValue)\""
        event += ",\"delivery\":\(JSON.string(delivery)),\"occurred_at\":\"\(Clock.timestamp(Clock.microseconds()))\""
        if let code { event += ",\"smtp_code\":\(code)" }
        if let enhanced { event += ",\"enhanced_code\":\(JSON.string(enhanced))" }
        if let detail { event += ",\"detail\":\(JSON.string(detail))" }
        event += "}"
        reports.append(event)
        guard isRepeated else { return }
        let again = event
        eventLoop.scheduleTask(in: .milliseconds(later)) { self.reports.append(again) }
    }

    // MARK: Workers

    private func sendReports() async {
        while var events = await reports.next(upTo: settings.batchSize, gather: settings.batchDelay) {
            if settings.shuffleWindow > 0 { state.withLock { events.shuffle(using: &$0.generator) } }
            let wasTaken = await post(events)
            state.withLock { state in
                if wasTaken { state.counts.reported += events.count } else { state.counts.lost += events.count }
            }
            release(events.count)
        }
    }

    private func post(_ events: [String]) async -> Bool {
        guard let url = settings.webhookURL else { return false }
        let body = Array("{\"events\":[\(events.joined(separator: ","))]}".utf8)
        let id = state.withLock { state in "msg-\(String(state.generator.next(), radix: 36))-\(events.count)" }
        return await retry {
            let now = Clock.microseconds() / 1_000_000
            var headers = [("Content-Type", "application/json"), ("webhook-id", id), ("webhook-timestamp", "\(now)")]
            if let webhook = self.settings.webhook {
                headers.append(("webhook-signature", webhook.sign(id: id, timestampSeconds: now, body: body)))
            }
            return HTTPClient.Request(method: .POST, url: url, headers: headers, body: body)
        }
    }

    private func sendVisits() async {
        while let batches = await visits.next(upTo: 1) {
            for visit in batches.joined() {
                let isDone = await retry { visit.request }
                state.withLock { state in
                    if isDone { state.counts.visits += 1 } else { state.counts.failedVisits += 1 }
                }
            }
            release(batches.count)
        }
    }

    private func retry(_ request: () -> HTTPClient.Request) async -> Bool {
        let end = ContinuousClock.now + settings.retryFor
        var pause = Duration.milliseconds(200)
        while true {
            let status = try? await http.send(request())
            if let status, (200..<400).contains(status) { return true }
            guard ContinuousClock.now + pause < end, !Task.isCancelled else { return false }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(10))
        }
    }
}

enum Clock {
    static func microseconds() -> Int64 { Int64(Date().timeIntervalSince1970 * 1_000_000) }

    /// `2026-11-21T19:00:00.123456Z`
    static func timestamp(_ microseconds: Int64) -> String {
        let seconds = Date(timeIntervalSince1970: Double(microseconds / 1_000_000))
        let fraction = String(1_000_000 + microseconds % 1_000_000).dropFirst()
        return seconds.formatted(.iso8601).dropLast() + ".\(fraction)Z"
    }
}

enum JSON {
    static func string(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                result += "\\u" + String(0x10000 + scalar.value, radix: 16).dropFirst()
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
