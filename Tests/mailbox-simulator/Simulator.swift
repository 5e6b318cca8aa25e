import ArgumentParser
import Dispatch
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Signing

/// The world outside: mailboxes whose behaviour the recipient's address chooses, and the reports they cause.
@main
struct Simulator: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mailbox-simulator",
        abstract: "An SMTP server whose mailboxes behave as their addresses say, and report back.",
        discussion: """
            The letters a local part begins with choose the behaviour: \
            \(Behaviour.allCases.map(\.rawValue).joined(separator: ", ")). Anything else succeeds.
            """)

    @Option(help: "Address of the SMTP server; port 0 picks one.") var smtpListen = "127.0.0.1:2525"
    @Option(help: "Address of /counts and /healthz; port 0 picks one.") var httpListen = "127.0.0.1:8025"
    @Option(help: "File that gets one JSON line per accepted message before the reply.") var witness: String?
    @Option(help: "Where events are posted; without it nothing is reported.") var webhookURL: String?
    @Option(help: "Secret that signs the posts, whsec_ and base64.") var webhookSecret: String?
    @Option(help: "Accepted until reported delivered.") var eventDelayMs: Int64 = 50
    @Option(help: "Accepted until reported bounced.") var bounceDelayMs: Int64 = 1_000
    @Option(help: "Accepted until reported as complaint.") var complaintDelayMs: Int64 = 1_500
    @Option(help: "Reported delayed until reported delivered.") var delayedDelayMs: Int64 = 3_000
    @Option(help: "Accepted until opened or unsubscribed.") var openDelayMs: Int64 = 500
    @Option(help: "Opened until clicked; at least 1500.") var clickDelayMs: Int64 = 2_000
    @Option(help: "How long slow mailboxes think about the final dot.") var slowMs: Int64 = 3_000
    @Option(help: "Share of events reported twice, 0 to 1.") var duplicateShare = 0.0
    @Flag(help: "Report events out of order.") var shuffle = false
    @Option(help: "How far --shuffle moves an event.") var shuffleWindowMs: Int64 = 2_000
    @Option(help: "Seed of all choices.") var seed: UInt64 = 1
    @Option(help: "Most events in one post.") var batchSize = 100
    @Option(help: "How long a post waits for more events.") var batchDelayMs: Int64 = 50
    @Option(help: "Posts under way at once.") var workers = 4
    @Option(help: "Follow-ups outstanding before the server holds back.") var pendingLimit = 50_000
    @Option(help: "How long a refused post is repeated.") var retrySeconds: Int64 = 900
    @Option(help: "How long outstanding reports may take after SIGTERM.") var drainSeconds: Int64 = 5

    func validate() throws {
        guard hostAndPort(smtpListen) != nil else { throw ValidationError("--smtp-listen: host:port is needed") }
        guard hostAndPort(httpListen) != nil else { throw ValidationError("--http-listen: host:port is needed") }
        guard (0...1).contains(duplicateShare) else { throw ValidationError("--duplicate-share: 0 to 1 is needed") }
        guard batchSize > 0, workers > 0, pendingLimit >= 10 else {
            throw ValidationError("--batch-size, --workers: at least 1; --pending-limit: at least 10")
        }
        if let webhookURL, HTTPClient.parse(webhookURL) == nil {
            throw ValidationError("--webhook-url: an http:// URL is needed")
        }
        if webhookURL != nil, webhookSecret == nil {
            throw ValidationError("--webhook-secret is needed with --webhook-url")
        }
    }

    func run() async throws {
        let witness = try Witness(path: witness)
        let reporter = try makeReporter()
        let mailboxes = Mailboxes(witness: witness, reporter: reporter, delays: delays)
        let smtp = try await listen(smtpListen) { channel in
            try channel.pipeline.syncOperations.addHandler(SMTPServerHandler(mailboxes))
        }
        let http = try await listen(httpListen) { channel in
            try channel.pipeline.syncOperations.configureHTTPServerPipeline()
            try channel.pipeline.syncOperations.addHandler(StatusHandler(mailboxes))
        }
        let reporting = Task { await reporter.run() }
        announce(smtp: smtp.localAddress?.port ?? 0, http: http.localAddress?.port ?? 0)
        await Self.signal()
        try await smtp.close().get()
        let end = ContinuousClock.now + .seconds(drainSeconds)
        while reporter.counts.pending > 0, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(20)) }
        try await witness.close()
        reporter.close()
        reporting.cancel()
        try await http.close().get()
    }

    private var delays: Delays {
        Delays(
            event: eventDelayMs, bounce: bounceDelayMs, complaint: complaintDelayMs, delayed: delayedDelayMs,
            open: openDelayMs, click: clickDelayMs, slow: slowMs)
    }

    private func makeReporter() throws -> Reporter {
        Reporter(
            Reporter.Settings(
                webhookURL: webhookURL, webhook: try webhookSecret.map { try StandardWebhook(secrets: [$0]) },
                capacity: pendingLimit, batchSize: batchSize, batchDelay: .milliseconds(batchDelayMs), workers: workers,
                retryFor: .seconds(retrySeconds), duplicateShare: duplicateShare,
                shuffleWindow: shuffle ? shuffleWindowMs : 0, seed: seed))
    }

    private func listen(
        _ address: String, _ configure: @escaping @Sendable (any Channel) throws -> Void
    ) async throws -> any Channel {
        guard let (host, port) = hostAndPort(address) else { throw SimulatorFault("no address: \(address)") }
        return try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try configure(channel) }
            }
            .bind(host: host, port: port).get()
    }

    /// One line on standard output, once both servers listen.
    private func announce(smtp: Int, http: Int) {
        FileHandle.standardOutput.write(Data("{\"ready\":true,\"smtp_port\":\(smtp),\"http_port\":\(http)}\n".utf8))
    }

    private static func signal() async {
        let sources = [SIGTERM, SIGINT].map { number in
            Foundation.signal(number, SIG_IGN)
            return DispatchSource.makeSignalSource(signal: number, queue: .global())
        }
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        for source in sources {
            source.setEventHandler { continuation.yield() }
            source.resume()
        }
        for await _ in stream { break }
        for source in sources { source.cancel() }
    }
}
