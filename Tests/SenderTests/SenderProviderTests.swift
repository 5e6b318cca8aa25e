import Foundation
import Postgres
import Runtime
import TestKit
import Testing

@testable import sender

@Suite("Providers: SES and SMS through a sender", .timeLimit(.minutes(3)))
struct SenderProviderTests {
    /// A blast as `DispatchRig` makes it, then given a text and a sender.
    private static func blast(
        _ addresses: [String], on rig: SenderProcessRig, policy: String = "at_most_once", channels: String = "email"
    ) async throws {
        let blast = try await rig.dispatch.blast(addresses, policy: policy)
        try await rig.dispatch.change(
            "UPDATE blast SET from_address = 'office@school.example', text_template = 'School is closed, {{phone}}.', "
                + "channels = '{\(channels)}' WHERE blast_id = $1", blast)
    }

    private static func with(
        _ name: String, _ body: (LocalStack, StartedProcesses, ProviderPeers) async throws -> Void
    ) async throws {
        let peers = try await ProviderPeers.shared()
        try await LocalStack.with(name) { stack, processes in try await body(stack, processes, peers) }
    }

    private static func outcomes(_ rig: SenderProcessRig) async throws -> [String] {
        try await rig.dispatch.owner.query(
            """
            SELECT recipient_no || ' ' || provider || ' ' || state || ' ' || coalesce(fact::text, '-') || ' ' || reply AS line
              FROM attempt WHERE state NOT IN ('wire', 'requeued') ORDER BY recipient_no, attempt_no
            """
        ).map { try $0.string("line") }
    }

    private static func ses(_ peers: ProviderPeers, _ address: String, secret: String) -> [String: String] {
        [
            "ROLLCALL_SENDER_EMAIL_VIA": "ses", "ROLLCALL_SES_REGION": "us-east-1", "ROLLCALL_SES_ENDPOINT": address,
            "ROLLCALL_SES_ACCESS_KEY": peers.accessKey, "ROLLCALL_SES_SECRET_KEY": secret,
        ]
    }

    private static func sms(_ peers: ProviderPeers) -> [String: String] {
        [
            "ROLLCALL_SMS_ENDPOINT": peers.scripted, "ROLLCALL_SMS_ACCOUNT": peers.account,
            "ROLLCALL_SMS_TOKEN": peers.token, "ROLLCALL_SMS_FROM": "+15550100999",
        ]
    }

    @Test func `a sender sends a blast over SES, and a wrong key keeps it back and is named`() async throws {
        try await Self.with("ses") { stack, processes, peers in
            let rig = try await SenderProcessRig.make("ses", on: stack, processes, smtpPort: 1)
            let id = UUID().uuidString.lowercased()
            try await Self.blast(["\(id)@home.example"], on: rig)
            let wrong = try rig.start(Self.ses(peers, peers.ses, secret: "wrong"))
            try await eventually("the trouble is logged", within: .seconds(60)) {
                try wrong.logText().contains("\"relay\":\"ses\"")
            }
            #expect(try await Self.outcomes(rig).isEmpty, "what SES refuses to us is no attempt that ended")
            try await wrong.terminate()
            let right = try rig.start(Self.ses(peers, peers.ses, secret: peers.secretKey))
            try await rig.settled()
            let outcomes = try await Self.outcomes(rig)
            #expect(outcomes.count == 1 && outcomes[0].hasPrefix("1 ses accepted 20 250 2.0.0 Amazon SES "))
            let mail = try #require(try await peers.mails().first { $0.to.contains("\(id)@home.example") })
            #expect(mail.from == "office@school.example" && mail.raw.contains("X-Rollcall-Delivery: "))
            try await right.terminate()
            await rig.dispatch.close()
        }
    }

    @Test func `I-07, C-08: text messages go over the SMS provider, mail of the same blast over SES`()
        async throws
    {
        try await Self.with("sms") { stack, processes, peers in
            let more = Self.sms(peers).merging(Self.ses(peers, peers.scripted, secret: "any")) { $1 }
            let rig = try await SenderProcessRig.make("sms", on: stack, processes, smtpPort: 1, more)
            let addresses = [
                "+15550300123", "+15550300211", "+15550300610", "fine@home.example", "rejected@home.example",
            ]
            try await Self.blast(addresses, on: rig)
            let sender = try rig.start()
            try await rig.settled()
            let outcomes = try await Self.outcomes(rig)
            let expected = [
                "1 sms accepted 20 250 2.0.0 SMS provider SM15550300123", "2 sms rejected 27 550 5.1.1 ",
                "3 sms rejected 24 550 5.7.1 the recipient has opted out; ",
                "4 ses accepted 20 250 2.0.0 Amazon SES id-fine",
                "5 ses rejected 24 554 5.6.0 Amazon SES MessageRejected",
            ]
            #expect(outcomes.count == expected.count)
            for (outcome, expected) in zip(outcomes, expected) { #expect(outcome.hasPrefix(expected), "\(outcome)") }
            #expect(
                try peers.requests(to: "+15550300123").map { $0["Body"] as? String }
                    == ["School is closed, +15550300123."])
            try await sender.terminate()
            await rig.dispatch.close()
        }
    }

    @Test func `a provider whose certificate is not trusted puts messages back, and each arrives once when it is`()
        async throws
    {
        try await Self.with("https") { stack, processes, peers in
            let address = "https://localhost:\(try peers.securePort("good"))"
            var settings = Self.sms(peers).merging(Self.ses(peers, address, secret: "any")) { $1 }
            settings["ROLLCALL_SMS_ENDPOINT"] = address
            func trusting(_ authority: String) -> [String: String] {
                let file = peers.authority(authority)
                return ["ROLLCALL_SES_TLS_CA_FILE": file, "ROLLCALL_SMS_TLS_CA_FILE": file]
            }
            let rig = try await SenderProcessRig.make("https", on: stack, processes, smtpPort: 1, settings)
            let mail = "\(UUID().uuidString.lowercased())@home.example"
            let number = "+15550500123"
            try await Self.blast([mail, number], on: rig)
            let wrong = try rig.start(trusting("other-ca"))
            try await eventually("both troubles are logged and both messages put back", within: .seconds(60)) {
                let log = try wrong.logText()
                let requeued = try await rig.count(
                    "SELECT count(DISTINCT recipient_no) AS n FROM attempt WHERE state = 'requeued'")
                return log.contains("\"relay\":\"ses\"") && log.contains("\"relay\":\"sms\"")
                    && log.contains("does not lead to a trusted authority") && requeued == 2
            }
            #expect(try await Self.outcomes(rig).isEmpty && peers.requests(to: mail).isEmpty)
            try await wrong.terminate()
            let right = try rig.start(trusting("ca"))
            try await rig.settled()
            #expect(
                try await Self.outcomes(rig).map { $0.prefix(17) } == ["1 ses accepted 20", "2 sms accepted 20"])
            #expect(try peers.requests(to: mail).count == 1 && peers.requests(to: number).count == 1)
            try await right.terminate()
            await rig.dispatch.close()
        }
    }

    @Test func `an SMS provider that hangs holds its own slots, and mail of every blast goes on`() async throws {
        try await Self.with("hang") { stack, processes, peers in
            let settings = Self.sms(peers).merging(Self.ses(peers, peers.scripted, secret: "any")) { $1 }
                .merging(["ROLLCALL_SMS_CONNECTIONS": "2", "ROLLCALL_SES_CONNECTIONS": "2"]) { $1 }
            let rig = try await SenderProcessRig.make("hang_provider", on: stack, processes, smtpPort: 1, settings)
            let numbers = (100..<140).map { "+1550\($0)0000" }
            try await Self.blast(Array(numbers.prefix(20)), on: rig, channels: "sms")
            let sender = try rig.start()
            try await eventually("the provider hangs with all that it may have", within: .seconds(60)) {
                try await rig.count("SELECT count(*) AS n FROM attempt WHERE state = 'wire'") == 2
            }
            let mails = (1...60).map { "\($0).\(UUID().uuidString.lowercased())@home.example" }
            try await Self.blast(Array(numbers.suffix(20)) + mails.prefix(30), on: rig, channels: "email,sms")
            try await Self.blast(Array(mails.suffix(30)), on: rig)
            try await eventually("all mail is accepted", within: .seconds(90)) {
                try await rig.count("SELECT count(*) AS n FROM attempt WHERE state = 'accepted' AND provider = 'ses'")
                    == 60
            }
            #expect(try await rig.count("SELECT count(*) AS n FROM attempt WHERE state = 'wire'") == 2)
            #expect(try await rig.count("SELECT count(*) AS n FROM attempt WHERE provider = 'sms'") == 0)
            try await sender.kill()
            await rig.dispatch.close()
        }
    }

    @Test func `an emergency goes before the mail that waits for a slow provider, beside text messages as well`()
        async throws
    {
        try await Self.with("front") { stack, processes, peers in
            let settings = Self.sms(peers).merging(Self.ses(peers, peers.scripted, secret: "any")) { $1 }
                .merging(["ROLLCALL_SES_CONNECTIONS": "2"]) { $1 }
            let rig = try await SenderProcessRig.make("front_provider", on: stack, processes, smtpPort: 1, settings)
            let run = UUID().uuidString.lowercased()
            try await Self.blast((1...120).map { "slow\($0).\(run)@home.example" }, on: rig, channels: "email,sms")
            let sender = try rig.start()
            let accepted =
                "SELECT count(*) AS n FROM attempt a JOIN blast b USING (blast_id) WHERE a.state = 'accepted'"
            try await eventually("the list is under way", within: .seconds(60)) { try await rig.count(accepted) > 8 }
            _ = try await rig.dispatch.blast((1...4).map { "now\($0).\(run)@home.example" }, isEmergency: true)
            try await eventually("the emergency is through", within: .seconds(60)) {
                try await rig.count("\(accepted) AND b.class = 'emergency'") == 4
            }
            #expect(try await rig.count("\(accepted) AND b.class = 'general'") < 100)
            try await sender.kill()
            await rig.dispatch.close()
        }
    }

    @Test func `retries go on while a list takes every slot of their channel`() async throws {
        try await Self.with("again") { stack, processes, peers in
            let settings = Self.sms(peers).merging(Self.ses(peers, peers.scripted, secret: "any")) { $1 }
                .merging(["ROLLCALL_SES_CONNECTIONS": "2"]) { $1 }
            let rig = try await SenderProcessRig.make("again_provider", on: stack, processes, smtpPort: 1, settings)
            let run = UUID().uuidString.lowercased()
            let earlier = try await rig.dispatch.blast(["again.\(run)@home.example"])
            _ = try await rig.dispatch.verdicts([rig.dispatch.entry(1, "again.\(run)@home.example")], earlier)
            try await rig.dispatch.settle(earlier, 1, .deferred)
            try await rig.dispatch.change("UPDATE attempt SET next_at = now() WHERE blast_id = $1", earlier)
            try await Self.blast((1...120).map { "slow\($0).\(run)@home.example" }, on: rig, channels: "email,sms")
            let sender = try rig.start()
            try await eventually("the retry was accepted", within: .seconds(60)) {
                try await rig.count("SELECT count(*) AS n FROM attempt WHERE attempt_no = 2 AND state = 'accepted'")
                    == 1
            }
            #expect(try await rig.count("SELECT count(*) AS n FROM attempt WHERE state = 'accepted'") < 100)
            try await sender.kill()
            await rig.dispatch.close()
        }
    }

    @Test(arguments: ["+15550400000", "hang@home.example"])
    func `a sender killed between request and answer leaves doubt, and its successor never sends again`(
        _ address: String
    ) async throws {
        try await Self.with("kill") { stack, processes, peers in
            let before = try peers.requests(to: address).count
            let more = Self.sms(peers).merging(Self.ses(peers, peers.scripted, secret: "any")) { $1 }
            let rig = try await SenderProcessRig.make("kill_provider", on: stack, processes, smtpPort: 1, more)
            try await Self.blast([address], on: rig)
            let first = try rig.start()
            try await eventually("the provider has the request", within: .seconds(60)) {
                try peers.requests(to: address).count == before + 1
            }
            try await first.kill()
            let second = try rig.start()
            try await rig.settled()
            #expect(try peers.requests(to: address).count == before + 1)
            #expect(
                try await rig.dispatch.owner.query("SELECT state FROM attempt").map { try $0.string("state") } == [
                    "unknown"
                ])
            try await second.terminate()
            await rig.dispatch.close()
        }
    }
}
