import Delivery
import Foundation
import TestKit
import Testing

extension BlastRig {
    /// The counts of a time come from the log, those of now from counters: once nothing moves they are the same.
    func expectPastAgrees(of blast: BlastID) async throws {
        try await eventually("the counts and those of the same moment worked out from the log agree") {
            let now = try await call("GET", "/v1/blasts/\(blast)/counts", "report").json()
            let time = try #require(now["as_of"] as? String)
            let past = try await call("GET", "/v1/blasts/\(blast)/counts?as_of=\(time)", "report").json()
            #expect(past["as_of"] as? String == time)
            return try #require(now["words"] as? NSArray) == #require(past["words"] as? NSArray)
        }
    }

    /// What real servers and reports said is told as who said it and what it means.
    func expectExplained(of blast: BlastID, _ list: [ListedRecipient]) async throws {
        let expected: [(behaviour: String, witness: String, code: String?, isAdvised: Bool)] = [
            ("success", "receiving_server", nil, false), ("bounce", "outgoing_server", "5.1", true),
            ("block", "outgoing_server", "5.7", true), ("softforever", "sender", "4", true),
            ("asyncbounce", "receiving_server", "5.1", true), ("complaint", "family", nil, true),
            ("open", "family", nil, false), ("click", "family", nil, false), ("unsub", "family", nil, false),
        ]
        for (behaviour, witness, code, isAdvised) in expected {
            let index = try #require(list.firstIndex { $0.address.hasPrefix("\(behaviour)-") }, "\(behaviour)")
            let answer = try await call(
                "GET", "/v1/blasts/\(blast)/recipients/\(index + 1)?vocabulary=canonical", "report"
            )
            .json()
            let why = try #require(answer["explanation"] as? [String: Any], "\(behaviour)")
            let decided = try #require(why["decided_by"] as? [String: Any])
            #expect(decided["fact"] as? String == list[index].status.name, "\(behaviour)")
            #expect(decided["witness"] as? String == witness, "\(behaviour)")
            #expect(decided["at"] is String && decided["event_id"] is String, "\(behaviour)")
            if let code {
                #expect((decided["enhanced_code"] as? String)?.hasPrefix(code) == true, "\(behaviour): \(decided)")
            }
            #expect((why["advice"] is String) == isAdvised, "\(behaviour)")
        }
    }
}
