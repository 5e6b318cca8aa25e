import Delivery
import Foundation
import TestKit
import Testing

/// Text messages through all services, from a list with telephone numbers to their statuses.
@Suite(.serialized, .timeLimit(.minutes(5))) struct `A blast of texts` {
    @Test func `is uploaded, sent to every number once, and its statuses say so (C-08)`() async throws {
        let peers = try await ProviderPeers.shared()
        let provider = [
            "ROLLCALL_SMS_ENDPOINT": peers.scripted, "ROLLCALL_SMS_ACCOUNT": peers.account,
            "ROLLCALL_SMS_TOKEN": peers.token, "ROLLCALL_SMS_FROM": "+15550100999",
        ]
        try await BlastRig.with("texts", provider) { rig in
            let numbers = (7101...7130).map { "+1555034\($0)" }
            var list = "phone,name,person_ref\n"
            for (index, number) in numbers.enumerated() { list += "\(number),Family \(index + 1),f\(index + 1)\n" }
            list += "\(numbers[0]),Again,g1\n,Nobody,g2\n5550100,Short,g3\n+15550340211,Gone,g4\n"
            func file(_ text: String, _ name: String) throws -> String {
                let file = rig.stack.stateFolder.appending(path: name)
                try Data(text.utf8).write(to: file)
                return file.path
            }
            let made = try await rig.rollcall(
                "send", "--channels", "sms", "--draft-only", "--csv", try file(list, "texts.csv"), "--text",
                try file("Schule fällt aus, {{name}} & 100%+", "texts.txt"))
            try #require(made.status == 0, "\(made.output)")
            #expect(made.output.contains("34 recipients: 1 invalid, 1 without an address, 1 repeated"))
            #expect(made.output.contains("text messages: 32, segments: 32"))
            let named = String(try #require(made.output.firstMatch(of: /blast ([0-9a-f-]{36})/)).output.1)
            let blast = try #require(BlastID(named))
            let tested = try await rig.rollcall("draft", "test", named, "--to", "+15550349901", "--recipient", "3")
            #expect(tested.status == 0, "\(tested.output)")
            let text = try peers.requests(to: "+15550349901").last?["Body"] as? String
            #expect(text == "[Test] Schule fällt aus, Family 3 & 100%+")
            let ordered = try await rig.rollcall("draft", "send", named)
            try #require(ordered.status == 0, "\(ordered.output)")
            let path = "/v1/blasts/\(blast)"
            let expected: [DeliveryFact] =
                Array(repeating: .sent, count: 30) + [.duplicate, .noAddress, .invalid, .bouncedInvalid]
            try await eventually("every status is what became of its text") {
                let facts = try await rig.facts(of: blast)
                return (1...34).map { facts[$0]?.canonicalStatus } == expected
            }
            for (index, number) in numbers.enumerated() {
                let texts = try peers.requests(to: number)
                #expect(texts.count == 1, "\(number)")
                #expect(texts.first?["Body"] as? String == "Schule fällt aus, Family \(index + 1) & 100%+")
                #expect(texts.first?["From"] as? String == "+15550100999")
            }
            #expect(try rig.acceptances().isEmpty, "nothing went by mail")
            let counts = try await rig.call("GET", "\(path)/counts?vocabulary=canonical", "report").text
            #expect(counts.contains("\"n\":30"), "\(counts)")
            try await rig.expectCleanAudit()
        }
    }
}
