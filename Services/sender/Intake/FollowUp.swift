import Contracts
import Delivery
import HTTPTypes
import Postgres
import Runtime

/// A blast to those of an earlier blast's recipients whose delivery stands in a stated way.
///
/// It becomes a draft of its own, with `parent_blast_id`: the earlier blast's content unless the request says otherwise,
/// and the chosen rows of its list with all they had. It is a declared resend, so that nobody is left out because they
/// had the same content before. Whom the earlier blast may still reach by itself is never chosen.
struct FollowUp: Sendable {
    // swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
    /// The new draft.
    struct Made: Encodable, Sendable {
        let blast_id: String
        let parent_blast_id: String
        let audience: Int64
        /// Recipients who match and whom the earlier blast may still reach by itself.
        let in_progress: Int64
    }

    /// Which deliveries are chosen.
    enum Choice: Sendable, Equatable {
        /// With all of the first and none of the second.
        case facts(with: DeliveryFacts, without: DeliveryFacts)
        /// Those that a vocabulary shows as the word of one of these facts.
        case shown(DeliveryFacts, mask: DeliveryFacts)
        /// Those that nobody accepted; of those that were in doubt, the ones of which it was found out.
        case notHandedOver
    }

    /// What the parent's answer says about itself and a new blast does not take over.
    private static let ownMembers = [
        "blast_id", "title", "state", "audience", "fields", "parent_blast_id", "created_by", "created_at",
        "send_at", "not_after", "send_requested_at", "requested_by", "approval_until", "approved_at", "approved_by",
        "paused_at", "held_at", "held_reason", "cancelled_at", "sending_ended_at",
    ]

    let parent: BlastID
    let choice: Choice
    /// Members of the new draft that differ from the parent's.
    let changes: [String: JSONValue]

    /// - Throws: `Problem` 400 or 422.
    init(parent: BlastID, json octets: [UInt8]) throws(Problem) {
        self.parent = parent
        var members = try IntakeProblems.object(octets)
        var reader = MemberReader(members.filter { ["to", "vocabulary", "with", "without"].contains($0.key) })
        let to = reader.text("to", octets: 100)
        let words = reader.text("vocabulary", octets: 100)
        let with = reader.facts("with")
        let without = reader.facts("without")
        let vocabulary = StatusVocabulary.named(words ?? StatusVocabulary.canonical.name)
        if vocabulary == nil {
            reader.add("vocabulary", "is not one of \(StatusVocabulary.all.map(\.name).joined(separator: ", "))")
        }
        var choice: Choice?
        if let to, let vocabulary {
            choice = Self.choice(named: to, in: vocabulary)
            if choice == nil {
                let names = ["not_handed_over", "not_acknowledged"] + vocabulary.wordsInOrder
                reader.add("to", "is not one of \(names.joined(separator: ", "))")
            }
            if with != nil || without != nil { reader.add("to", "cannot stand beside with and without") }
        } else if with != nil || without != nil {
            choice = .facts(with: with ?? DeliveryFacts(), without: without ?? DeliveryFacts())
        } else if to == nil {
            reader.add("to", "is missing, and so are with and without: say whom the follow-up is for")
        }
        guard reader.faults.isEmpty, let choice else { throw IntakeProblems.members(reader.faults) }
        self.choice = choice
        for name in ["to", "vocabulary", "with", "without"] { members[name] = nil }
        changes = members
    }

    static func choice(named name: String, in vocabulary: StatusVocabulary) -> Choice? {
        switch name {
        case "not_handed_over": return .notHandedOver
        case "not_acknowledged":
            return .facts(with: DeliveryFacts(), without: DeliveryFacts(.acknowledged, .responded))
        default:
            let facts = vocabulary.facts(shownAs: name)
            return facts.bits == 0 ? nil : .shown(facts, mask: vocabulary.mask)
        }
    }

    /// Stores the draft and its list in one transaction.
    func make(by caller: Caller, limits: IntakeLimits, pool: PostgresPool) async throws -> Made {
        let made = try await pool.withDistrict(caller.district) { connection in
            let document = try await BlastStore.read(parent, on: connection)
            guard ["sending", "sent"].contains(document.state) else {
                throw IntakeProblems.conflict(
                    "not-sent", "The blast was not sent",
                    "The blast is \(document.state); there is nothing to follow up.")
            }
            let draft = try BlastDraft(
                members: try members(from: document), limits: limits, nowMicroseconds: WallClock.nowMicroseconds())
            let child = try await BlastStore.insert(draft, by: caller, on: connection)
            let audience = try await copyList(to: child.blast_id, of: caller, on: connection)
            guard audience > 0 else {
                throw Problem(
                    "nobody-matches", title: "Nobody matches", status: .unprocessableContent,
                    detail: "No recipient of the blast stands in this way now; no follow-up was made.")
            }
            let left = try await connection.query(
                "SELECT count(*) AS n FROM delivery_status s WHERE s.blast_id = $1 AND \(matches) AND NOT \(Self.isOver)",
                [.uuid(parent)])
            return Made(
                blast_id: child.blast_id, parent_blast_id: parent.description, audience: audience,
                in_progress: try left.first?.int("n") ?? 0)
        }
        if let blast = BlastID(made.blast_id) {
            _ = try? await pool.query("SELECT analyze_blast_tables($1, $2)", [.uuid(blast), .int(made.audience)])
        }
        return made
    }

    private func members(from document: BlastResource) throws -> [String: JSONValue] {
        var members = try IntakeProblems.object(try StrictJSON.encode(document))
        for name in Self.ownMembers { members[name] = nil }
        if changes["html"] != nil || changes["text"] != nil {
            members["html"] = nil
            members["text"] = nil
        }
        if changes["class"] != nil { members["in_doubt_policy"] = nil }
        members.merge(changes) { $1 }
        members["parent_blast_id"] = .text(parent.description)
        return members
    }

    // MARK: The list

    /// The parent has nothing left to do for this delivery.
    private static let isOver = "s.facts & \(DeliveryFacts.handedOverMask.union(DeliveryFacts(.inDoubt)).bits) <> 0"

    private var matches: String {
        switch choice {
        case .facts(let with, let without):
            return "(s.facts & \(with.bits) = \(with.bits) AND s.facts & \(without.bits) = 0)"
        case .notHandedOver:
            let doubt = DeliveryFacts(.inDoubt, .unknown)
            return "(s.facts & \(DeliveryFacts.acceptanceEvidenceMask.bits) = 0 AND (s.facts & \(doubt.bits) = 0 "
                + "OR s.facts & \(DeliveryFacts(.notSent).bits) <> 0))"
        case .shown(let facts, let mask):
            // The highest fact that has a word is one of those asked for.
            let tops = facts.facts.map { fact in
                let higher = mask.bits & ~((1 << (Int64(fact.rawValue) + 1)) - 1)
                return "s.facts & \(Int64(1) << Int64(fact.rawValue)) <> 0 AND s.facts & \(higher) = 0"
            }
            return "(\(tops.joined(separator: " OR ")))"
        }
    }

    private func copyList(
        to child: String, of caller: Caller, on connection: PostgresConnection
    ) async throws -> Int64 {
        let key: [PostgresParameter] = [.uuid(parent), .text(child)]
        // Every column that the list has, so that a follow-up reads like its parent.
        let columns = try await connection.query(Self.listColumns).first?.string("columns") ?? ""
        let copied = try await connection.query(
            """
            INSERT INTO recipient (blast_id, recipient_no, \(columns))
            SELECT $2::text::uuid, row_number() OVER (ORDER BY recipient_no), \(columns)
              FROM recipient r
             WHERE r.blast_id = $1
               AND EXISTS (SELECT FROM delivery_status s
                            WHERE s.blast_id = r.blast_id AND s.recipient_no = r.recipient_no
                              AND \(matches) AND \(Self.isOver))
            """, key)
        let audience = Int64(copied.affectedRows)
        _ = try await connection.query(Self.statuses, [.text(child)])
        _ = try await connection.query(Self.attachments, key)
        _ = try await connection.query(
            "INSERT INTO blast_count (blast_id, district_id, part, facts, n) VALUES ($1::text::uuid, $2, -1, 1, $3)",
            [.text(child), .int(caller.district), .int(audience)])
        _ = try await connection.query(
            """
            UPDATE blast c SET audience = $3, fields = p.fields FROM blast p
             WHERE c.blast_id = $2::text::uuid AND p.blast_id = $1
            """, key + [.int(audience)])
        return audience
    }

    private static let listColumns = """
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns FROM pg_attribute
         WHERE attrelid = 'recipient'::regclass AND attnum > 0 AND NOT attisdropped
           AND attname NOT IN ('blast_id', 'recipient_no')
        """
    private static let attachments = """
        INSERT INTO blast_attachment (blast_id, name, district_id, media_type, sha256, content)
        SELECT $2::text::uuid, name, district_id, media_type, sha256, content FROM blast_attachment WHERE blast_id = $1
        """
    private static let statuses = """
        INSERT INTO delivery_status (blast_id, district_id, recipient_no, person_ref)
        SELECT blast_id, district_id, recipient_no,
               CASE WHEN length(person_ref) <= 128 AND strpos(person_ref, '@') = 0 THEN person_ref END
          FROM recipient WHERE blast_id = $1::text::uuid
        """
}

extension MemberReader {
    /// A list of facts by their names; nil when it is absent or faulty.
    fileprivate mutating func facts(_ name: String) -> DeliveryFacts? {
        guard let names = texts(name) else { return nil }
        var facts = DeliveryFacts()
        for item in names {
            guard let fact = DeliveryFact(name: item) else {
                add(name, "names \(item.prefix(50)), which is no fact")
                return nil
            }
            facts = facts.union(fact)
        }
        return facts
    }
}
