import Contracts
import Delivery
import Foundation
import Testing

/// The published files say what the code does.
@Suite struct `The public contract` {
    struct Example {
        let name: String
        let topic: String
        let key: String
        let headers: [String: String]
        let value: NSDictionary?

        var octets: [UInt8] {
            get throws {
                [UInt8](try JSONSerialization.data(withJSONObject: try #require(value), options: .sortedKeys))
            }
        }
        func header(_ name: String) -> String? { headers[name] }
    }

    static func json(_ path: String) throws -> [String: Any] {
        let data = try Data(contentsOf: ContractFiles.folder.appending(path: path))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    static func examples() throws -> [Example] {
        let folder = ContractFiles.folder.appending(path: "examples")
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map { name in
            let object = try json("examples/\(name)")
            return Example(
                name: name, topic: try #require(object["topic"] as? String),
                key: try #require(object["key"] as? String),
                headers: try #require(object["headers"] as? [String: String]), value: object["value"] as? NSDictionary)
        }
    }

    /// What our own types make of an example: the value and attributes they write, nil for octets nobody can read.
    private func rewritten(_ example: Example) throws -> (value: [UInt8], key: [UInt8], headers: CloudEventAttributes)?
    {
        switch example.headers["ce_type"] {
        case DeliveryEvent.type:
            let event = try DeliveryEvent(value: example.octets, header: example.header)
            return (try event.value(), event.key, event.attributes)
        case DeliveryStatusRecord.type:
            let record = try DeliveryStatusRecord(value: example.octets)
            return (try record.value(), record.key, record.attributes)
        case ChunkMessage.Stage.requested.rawValue, ChunkMessage.Stage.cleared.rawValue:
            let chunk = try ChunkMessage(value: example.octets, header: example.header)
            #expect(chunk.topic.name == example.topic, "\(example.name)")
            return (try chunk.value(), chunk.key, chunk.attributes)
        case Command.type:
            let command = try Command(value: example.octets, header: example.header)
            return (try command.value(), command.key, command.attributes)
        case BlastProgressRecord.type:
            let record = try progress(example)
            return (try record.value(), record.key, record.attributes)
        case BlastExpiredRecord.type:
            let record = try BlastExpiredRecord(value: example.octets)
            return (try record.value(), record.key, record.attributes)
        case BlacklistRecord.type:
            let record = try entry(example)
            return (try record.value(), record.key, record.attributes)
        default:
            #expect(example.headers["ce_type"] == DeadLetter.type, "\(example.name)")
            return nil
        }
    }

    private func progress(_ example: Example) throws -> BlastProgressRecord {
        var counts: [DeliveryFacts: Int64] = [:]
        for row in try #require(example.value?["counts"] as? [[String: Any]]) {
            counts[DeliveryFacts(bits: try #require(row["facts"] as? Int64))] = try #require(row["n"] as? Int64)
        }
        let blast = BlastID(try #require(example.value?["blast_id"] as? String))
        return BlastProgressRecord(
            blast: try #require(blast), district: DistrictID(try #require(example.value?["district"] as? Int64)),
            audience: try #require(example.value?["audience"] as? Int64), counts: counts,
            atMicroseconds: try microseconds(example.headers["ce_time"]))
    }

    private func entry(_ example: Example) throws -> BlacklistRecord {
        BlacklistRecord(
            district: DistrictID(try #require(example.value?["district"] as? Int64)),
            addressHash: try #require(example.value?["address_hash"] as? String),
            reason: try #require(example.value?["reason"] as? String),
            isActive: try #require(example.value?["active"] as? Bool),
            version: try #require(example.value?["version"] as? Int64),
            changedAtMicroseconds: try microseconds(example.value?["changed_at"]))
    }

    private func microseconds(_ text: Any?) throws -> Int64 {
        let time = Timestamp.microseconds(try #require(text as? String))
        return try #require(time)
    }

    @Test func `every example is read by our own types and written again as it was`() throws {
        let examples = try Self.examples()
        #expect(examples.count >= 10)
        for example in examples {
            guard let written = try rewritten(example) else { continue }
            let value = try JSONSerialization.jsonObject(with: Data(written.value)) as? NSDictionary
            #expect(value == example.value, "\(example.name)")
            #expect(String(decoding: written.key, as: UTF8.self) == example.key, "\(example.name)")
            let headers = Dictionary(uniqueKeysWithValues: written.headers.headers.map { ($0.name, $0.value) })
            #expect(headers == example.headers, "\(example.name)")
        }
    }

    /// The same value with everything that may be absent, and without.
    private static let delivery = DeliveryID(blast: BlastID(high: 1, low: 2), recipientNumber: 3)
    private static func encodings() throws -> [String: (full: [UInt8], least: [UInt8])] {
        func event(_ attempt: DeliveryEvent.Attempt?, _ text: String?) throws -> [UInt8] {
            try DeliveryEvent(
                id: "e", source: "/rollcall/sender", delivery: delivery, district: DistrictID(1), fact: .sent,
                occurredAtMicroseconds: 0, attempt: attempt, response: text, evidence: text ?? ""
            ).value()
        }
        func status(_ time: Int64?, _ text: String?) throws -> [UInt8] {
            try DeliveryStatusRecord(
                delivery: delivery, district: DistrictID(1), facts: .initial, versionFrom: 0, incarnation: 1, seq: 1,
                attempts: 0, lastAttemptAtMicroseconds: time, response: text, changedAtMicroseconds: 0, eventID: "e",
                personReference: text
            ).value()
        }
        func command(_ address: String?) throws -> [UInt8] {
            try Command(
                id: "c", kind: .blacklistAdd, district: DistrictID(1), target: "ab", address: address, actor: "a",
                reason: "r", atMicroseconds: 0
            ).value()
        }
        let chunk = try ChunkMessage(
            stage: .requested, blast: delivery.blast, district: DistrictID(1), chunkNumber: 1, firstRecipient: 1,
            lastRecipient: 2, isEmergency: false, atMicroseconds: 0
        ).value()
        let progress = try BlastProgressRecord(
            blast: delivery.blast, district: DistrictID(1), audience: 1, counts: [.initial: 1], atMicroseconds: 0
        ).value()
        let expired = try BlastExpiredRecord(
            blast: delivery.blast, district: DistrictID(1), expiredAtMicroseconds: 0
        ).value()
        let entry = try BlacklistRecord(
            district: DistrictID(1), addressHash: "ab", reason: "r", isActive: true, version: 1,
            changedAtMicroseconds: 0
        ).value()
        return [
            "delivery-event": (try event(.init(number: 1, atMicroseconds: 0), "x"), try event(nil, nil)),
            "delivery-status": (try status(0, "x"), try status(nil, nil)),
            "command": (try command("x"), try command(nil)), "chunk": (chunk, chunk),
            "blast-progress": (progress, progress), "blacklist-entry": (entry, entry),
            "blast-expired": (expired, expired),
        ]
    }

    @Test func `every schema names exactly the members that our encoders write`() throws {
        func members(_ octets: [UInt8]) throws -> [String: Any] {
            try #require(try JSONSerialization.jsonObject(with: Data(octets)) as? [String: Any])
        }
        let encodings = try Self.encodings()
        let files = try FileManager.default.contentsOfDirectory(
            atPath: ContractFiles.folder.appending(path: "schemas").path)
        #expect(
            Set(files.filter { $0.hasSuffix(".schema.json") })
                == Set(encodings.keys.map { "\($0).schema.json" } + ["headers.schema.json"]))
        for (name, octets) in encodings {
            let schema = try Self.json("schemas/\(name).schema.json")
            let properties = try #require(schema["properties"] as? [String: [String: Any]])
            let full = try members(octets.full)
            #expect(Set(properties.keys) == Set(full.keys), "\(name)")
            #expect(
                Set(try #require(schema["required"] as? [String])) == Set(try members(octets.least).keys), "\(name)")
            for (member, value) in full {
                let nested = (value as? [String: Any]) ?? (value as? [[String: Any]])?.first
                guard let nested else { continue }
                let inner = try #require(properties[member])
                let described = try #require((inner["items"] as? [String: Any]) ?? inner)
                let named = try #require(described["properties"] as? [String: Any])
                #expect(Set(named.keys) == Set(nested.keys), "\(name).\(member)")
                #expect(Set(described["required"] as? [String] ?? []) == Set(nested.keys), "\(name).\(member)")
            }
        }
    }

    @Test func `facts, masks and words are published as they are computed with`() throws {
        let published = try Self.json("facts.json")
        let facts = DeliveryFact.allCases.map { ($0.name, Int($0.rawValue)) }
        #expect(published["facts"] as? [String: Int] == Dictionary(uniqueKeysWithValues: facts))
        #expect(
            published["masks"] as? [String: Int64] == [
                "canonical": DeliveryFacts.canonicalMask.bits, "excluded": DeliveryFacts.excludedMask.bits,
                "final": DeliveryFacts.finalMask.bits,
            ])
        let vocabularies = try #require(published["vocabularies"] as? [String: [String: Any]])
        #expect(Set(vocabularies.keys) == Set(StatusVocabulary.all.map(\.name)))
        for vocabulary in StatusVocabulary.all {
            let table = try #require(vocabularies[vocabulary.name])
            #expect(table["title"] as? String == vocabulary.title)
            #expect(table["mask"] as? Int64 == vocabulary.mask.bits, "\(vocabulary.name)")
            let words = vocabulary.words.map { ($0.key.name, $0.value.text) }
            #expect(
                table["words"] as? [String: String] == Dictionary(uniqueKeysWithValues: words), "\(vocabulary.name)")
        }
    }
}
