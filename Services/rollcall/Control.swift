import ArgumentParser
import Delivery
import Foundation

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// A blast as the sender's API describes it.
struct SenderBlast: Decodable {
    let blast_id: String
    let state: String
    let send_at: String?
    let approval_until: String?
    let paused_at: String?
    let held_at: String?
    let held_reason: String?
    let quiet_until: String?
    let operator_pause: String?
    let cancelled_at: String?

    var line: String {
        var parts = ["blast \(blast_id): \(state.replacingOccurrences(of: "_", with: " "))"]
        if state == "awaiting_approval", let approval_until { parts.append("to be approved until \(approval_until)") }
        if state != "sent", state != "sending", let send_at { parts.append("to be sent at \(send_at)") }
        if let cancelled_at { parts.append("cancelled at \(cancelled_at)") }
        if let paused_at { parts.append("paused since \(paused_at)") }
        if let held_at { parts.append("held since \(held_at): \(held_reason ?? "")") }
        if cancelled_at == nil, let waits { parts.append(waits) }
        return Terminal.plain(parts.joined(separator: ", "))
    }

    /// What others hold it back for.
    var waits: String? {
        if let operator_pause { return "waits for the operators, who paused all sending: \(operator_pause)" }
        return quiet_until.map { "waits until \($0), the end of the district's quiet hours" }
    }

    static func control(_ blast: BlastID, _ verb: String, json: Data? = nil, _ server: SenderServer) async throws {
        let answer = try await server.client().post("v1/blasts/\(blast)/\(verb)", json: json)
        Terminal.say(try answer.decoded(SenderBlast.self).line)
    }
}

struct Pause: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pause a blast, or all sending.",
        discussion: """
            'rollcall pause BLAST' asks the sender. 'rollcall pause --all' is for operators and goes to the database: \
            every sender stops at its next check, in every district; what is on the wire at that moment is finished. \
            Emergencies go on unless --include-emergency says otherwise. No status changes while sending waits.
            """)

    @Argument(help: "The blast.") var blast: BlastID?
    @Flag(help: "All blasts of all districts.") var all = false
    @Flag(help: "With --all: emergencies wait too.") var includeEmergency = false
    @Option(help: "With --all: why, for the record.") var reason: String?
    @Flag(help: "Show whether all sending is paused, and change nothing.") var status = false
    @OptionGroup var actor: ActorOption
    @OptionGroup var server: SenderServer

    func validate() throws {
        guard [blast != nil, all, status].count(where: { $0 }) == 1 else {
            throw ValidationError("Give one of: a blast, --all, --status.")
        }
        guard all || (!includeEmergency && reason == nil && actor.actor == nil) else {
            throw ValidationError("--include-emergency, --reason and --actor belong to --all.")
        }
        if all, (reason ?? "").isEmpty { throw ValidationError("--all needs a --reason, which everybody will read.") }
    }

    func run() async throws {
        if let blast { return try await SenderBlast.control(blast, "pause", server) }
        if status { return try await OperatorPause.show() }
        try await OperatorPause.begin(
            by: actor.name, reason: reason ?? "", includesEmergency: includeEmergency)
    }
}

struct Resume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Resume a blast that was paused or held, or all sending.")

    @Argument(help: "The blast.") var blast: BlastID?
    @Flag(help: "End 'pause --all'. Blasts that were paused one by one stay so.") var all = false
    @OptionGroup var actor: ActorOption
    @OptionGroup var server: SenderServer

    func validate() throws {
        guard (blast != nil) != all else { throw ValidationError("Give a blast or --all.") }
        guard all || actor.actor == nil else { throw ValidationError("--actor belongs to --all.") }
    }

    func run() async throws {
        if let blast { return try await SenderBlast.control(blast, "resume", server) }
        try await OperatorPause.end(by: actor.name)
    }
}

struct Cancel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Cancel a blast: who was not sent to yet will not be, and reads Cancelled.")

    @Argument(help: "The blast.") var blast: BlastID
    @OptionGroup var server: SenderServer

    func run() async throws { try await SenderBlast.control(blast, "cancel", server) }
}

struct Approve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Approve a blast that somebody else ordered.",
        discussion: "Needed above the size that the district chose: 'rollcall districts set'.")

    @Argument(help: "The blast.") var blast: BlastID
    @OptionGroup var server: SenderServer

    func run() async throws { try await SenderBlast.control(blast, "approve", server) }
}

struct Schedule: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Set or change when a blast that is not being sent yet is to be sent.")

    @Argument(help: "The blast.") var blast: BlastID
    @Option(help: "When, such as 2026-11-23T07:30:00-06:00; at most 30 days ahead.") var at: String?
    @Flag(help: "As soon as it may.") var now = false
    @OptionGroup var server: SenderServer

    func validate() throws {
        guard (at != nil) != now else { throw ValidationError("Give --at or --now.") }
    }

    func run() async throws {
        let body = try JSONSerialization.data(withJSONObject: at.map { ["send_at": $0] } ?? [:])
        try await SenderBlast.control(blast, "schedule", json: body, server)
    }
}
