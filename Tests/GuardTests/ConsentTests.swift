import Delivery
import Postgres
import Testing

@testable import blacklist_guard

@Suite struct `Consent and dedupe keys` {
    private func district() async throws -> District { try await GuardRig.shared.value.district() }

    /// Sets a column of one recipient.
    private func set(_ column: String, _ value: String, _ blast: BlastID, _ number: Int32) async throws {
        _ = try await GuardRig.shared.value.owner.query(
            "UPDATE recipient SET \(column) = '\(value)' WHERE blast_id = $1 AND recipient_no = $2",
            [.uuid((blast.high, blast.low)), .int4(number)])
    }

    @Test func `who refused consent to the category or to all is left out, an emergency goes out all the same`()
        async throws
    {
        let district = try await district()
        for isEmergency in [false, true] {
            let blast = try await district.blast(
                [.usable("a@x.example"), .usable("b@x.example"), .usable("c@x.example")], category: "trips",
                isEmergency: isEmergency)
            try await set("consent_refused", "{*}", blast, 1)
            try await set("consent_refused", "{news,trips}", blast, 2)
            try await set("consent_refused", "{news}", blast, 3)
            try await district.screen(blast)
            #expect(
                try await district.decisions(blast)
                    == (isEmergency ? [:] : [1: DeliveryFact.consentDenied, 2: .consentDenied]))
        }
    }

    @Test func `one who refused consent is nobody's original`() async throws {
        let district = try await district()
        let blast = try await district.blast([.usable("a@x.example"), .usable("a@x.example")])
        try await set("consent_refused", "{*}", blast, 1)
        try await district.screen(blast)
        #expect(try await district.decisions(blast) == [1: .consentDenied])
    }

    @Test func `siblings at one address count apart when the blast's key is address+person (K-03)`() async throws {
        let district = try await district()
        let blast = try await district.blast(
            [.usable("p@x.example"), .usable("p@x.example"), .usable("p@x.example"), .usable("p@x.example")],
            dedupes: "address+person")
        for (number, person) in [(1, "s1"), (2, "s2"), (3, "s1"), (4, "s1")] {
            try await set("person_ref", person, blast, Int32(number))
        }
        try await set("person_kind", "student", blast, 1)
        try await set("person_kind", "student", blast, 3)
        try await district.screen(blast)
        #expect(try await district.decisions(blast) == [3: .duplicate])
    }

    @Test func `with address+content a second copy is one too many when everybody reads the same`() async throws {
        let district = try await district()
        let blast = try await district.blast(
            [.usable("p@x.example"), .usable("p@x.example")], dedupes: "address+content")
        _ = try await district.rig.owner.query(
            "UPDATE blast SET content_hash = '\\x01' WHERE blast_id = $1", [.uuid((blast.high, blast.low))])
        try await district.screen(blast)
        #expect(try await district.decisions(blast) == [2: .duplicate])
    }
}
