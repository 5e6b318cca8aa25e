import Delivery
import Mail
import Postgres
import Runtime
import SMTP
import Signing
import TestKit
import Testing

@testable import sender

@Suite(.timeLimit(.minutes(2))) struct `What dispatch reads of a blast` {
    @Test func `the district's decisions hold from the newest one on, for its own category (S-16)`() async throws {
        let rig = try await DispatchRig.make("documents")
        func decide(_ kind: String, _ subject: String, _ holds: Bool) async throws {
            _ = try await rig.owner.query(
                """
                INSERT INTO district_decision (district_id, kind, subject, holds, actor, reason)
                VALUES (7, $1, $2, $3, 'board', 'minutes of 3 May')
                """, [.text(kind), .text(subject), .bool(holds)])
        }
        func document() async throws -> BlastDocument {
            let blast = try await rig.blast(["a@x.example"])
            return try #require(try await BlastDocuments(database: rig.dispatch).document(blast))
        }
        var read = try await document()
        #expect(read.isTracked)
        #expect(read.offersUnsubscribe)
        try await decide("tracking_off", "", true)
        try await decide("unsubscribe_exempt", "other", true)
        read = try await document()
        #expect(!read.isTracked)
        #expect(read.offersUnsubscribe)
        try await decide("tracking_off", "", false)
        try await decide("unsubscribe_exempt", "general", true)
        read = try await document()
        #expect(read.isTracked)
        #expect(!read.offersUnsubscribe)
        await rig.close()
    }

    @Test func `attachments go with every message and are part of what its content is`() async throws {
        let rig = try await DispatchRig.make("attachments")
        let blast = try await rig.blast(["a@x.example"])
        let composer = try IntakeRig.composer()
        func compose() async throws -> (composition: Composition, hash: [UInt8]?) {
            let document = try #require(try await BlastDocuments(database: rig.dispatch).document(blast))
            let recipient = Recipient(
                number: 1, address: "a@x.example", addressHash: [1], name: "A", personReference: nil, school: nil,
                fields: "{}")
            let composition = composer.compose(recipient, of: document, unixSeconds: 0)
            return (composition, composition.contentHash)
        }
        let without = try await compose()
        func attach(_ content: [UInt8]) async throws {
            _ = try await rig.owner.query("DELETE FROM blast_attachment")
            _ = try await rig.owner.query(
                """
                INSERT INTO blast_attachment (blast_id, name, district_id, media_type, sha256, content)
                VALUES ($1, 'plan.pdf', 7, 'application/pdf', sha256($2), $2)
                """, [.uuid(blast), .bytes(content)])
        }
        try await attach([1, 2, 3])
        let first = try await compose()
        let message = String(decoding: try first.composition.result.get().octets, as: UTF8.self)
        #expect(message.contains("filename=\"plan.pdf\"\r\n\r\nAQID\r\n"))
        try await attach([1, 2, 4])
        #expect(Set([without.hash, first.hash, try await compose().hash]).count == 3)
        await rig.close()
    }

    @Test func `siblings of an address+person blast are both handed over though they read the same (K-03)`()
        async throws
    {
        let rig = try await DispatchRig.make("siblings")
        let blast = try await rig.blast(["p@x.example", "p@x.example", "p@x.example"])
        try await rig.change(
            "UPDATE blast SET dedupe_key = 'address+person', text_template = 't' WHERE blast_id = $1", blast)
        try await rig.change(
            "UPDATE recipient SET person_ref = CASE recipient_no WHEN 2 THEN 's2' ELSE 's1' END WHERE blast_id = $1",
            blast)
        let document = try #require(try await BlastDocuments(database: rig.dispatch).document(blast))
        let composer = try IntakeRig.composer()
        let rows = try await rig.dispatch.query(
            """
            SELECT recipient_no, address, address_hash, name, person_ref, person_kind, school, locale, fields::text
              FROM recipient WHERE blast_id = $1 ORDER BY recipient_no
            """, [.uuid(blast)])
        var states: [String] = []
        for row in rows {
            let recipient = try Recipient(row)
            let content = try #require(composer.compose(recipient, of: document, unixSeconds: 0).contentHash)
            let verdict = try await rig.verdicts([rig.entry(recipient.number, "p@x.example", content: content)], blast)
            states.append("\(verdict.map { "\($0.state)" })")
            if verdict.first?.state == .wire { try await rig.settle(blast, recipient.number, .accepted) }
        }
        #expect(states == ["[\"wire\"]", "[\"wire\"]", "[\"stopped\"]"])
        await rig.close()
    }
}
