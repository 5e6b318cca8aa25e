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
    enum Choice: Sendable {
        /// With all of the first and none of the second.
        case facts(with: DeliveryFacts, without: DeliveryFacts)
        /// Those that a reading shows as this word.
        case shown(String, in: StatusReading)
        /// Those that nobody accepted; of those that were in doubt, the ones of which it was found out.
        case notHandedOver
    }

    let parent: BlastID
    let choice: Choice
    /// Members of the new draft that differ from the parent's.
    let changes: [String: JSONValue]

    private static let ownMembers = ["to", "vocabulary", "late_bounce", "opens", "with", "without"]

    /// - Parameter reading: the district's, in which a word is read unless the request says otherwise.
    /// - Throws: `Problem` 400 or 422.
    init(parent: BlastID, json octets: [UInt8], reading: StatusReading) throws(Problem) {
        self.parent = parent
        let members = try IntakeProblems.object(octets)
        var reader = MemberReader(members.filter { Self.ownMembers.contains($0.key) })
        let to = reader.text("to", octets: 100)
        let reading = reader.reading(else: reading)
        let with = reader.facts("with")
        let without = reader.facts("without")
        var choice: Choice?
        if let to {
            choice = Self.choice(named: to, in: reading)
            if choice == nil {
                let names = ["not_handed_over", "not_acknowledged"] + reading.vocabulary.wordsInOrder
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
        changes = members.filter { !Self.ownMembers.contains($0.key) }
    }

    static func choice(named name: String, in reading: StatusReading) -> Choice? {
        switch name {
        case "not_handed_over": return .notHandedOver
        case "not_acknowledged":
            return .facts(with: DeliveryFacts(), without: DeliveryFacts(.acknowledged, .responded))
        default:
            return reading.vocabulary.facts(shownAs: name).bits == 0 ? nil : .shown(name, in: reading)
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
                members: members(from: document), limits: limits, nowMicroseconds: WallClock.nowMicroseconds())
            let made = try await BlastStore.insert(draft, by: caller, on: connection)
            guard let child = BlastID(made.blast_id) else { throw IntakeProblems.noSuchBlast }
            let audience = try await copyList(to: child, of: caller, on: connection)
            guard audience > 0 else {
                throw Problem(
                    "nobody-matches", title: "Nobody matches", status: .unprocessableContent,
                    detail: "No recipient of the blast stands in this way now; no follow-up was made.")
            }
            let left = try await connection.query(
                "SELECT count(*) AS n FROM delivery_status s WHERE s.blast_id = $1 AND \(matches) AND NOT \(Self.isOver)",
                [.uuid(parent)])
            return Made(
                blast_id: made.blast_id, parent_blast_id: parent.description, audience: audience,
                in_progress: try left.first?.int("n") ?? 0)
        }
        if let blast = BlastID(made.blast_id) {
            _ = try? await pool.query("SELECT analyze_blast_tables($1, $2)", [.uuid(blast), .int(made.audience)])
        }
        return made
    }

    /// What a follow-up takes over of its parent: everything that a draft says, but when it is sent.
    private func members(from document: BlastResource) -> [String: JSONValue] {
        var members: [String: JSONValue] = [
            "subject": .text(document.subject),
            "channels": .array(document.channels.map { .text($0) }), "category": .text(document.category),
            "class": .text(document.class), "in_doubt_policy": .text(document.in_doubt_policy),
            "dedupe_key": .text(document.dedupe_key), "answers": .array(document.answers.map { .text($0) }),
        ]
        members["from"] = document.from.map { from in
            .object(["address": .text(from.address)].merging(from.name.map { ["name": .text($0)] } ?? [:]) { $1 })
        }
        members["html"] = document.html.map { .text($0) }
        members["text"] = document.text.map { .text($0) }
        members["reply_to"] = document.reply_to.map { .text($0) }
        members["school"] = document.school.map { .text($0) }
        if changes["html"] != nil || changes["text"] != nil {
            members["html"] = nil
            members["text"] = nil
            // New templates that ask nothing leave nothing to answer.
            let asks = ["html", "text"].contains { name in
                guard case .text(let template)? = changes[name] else { return false }
                return template.contains(PersonalLink.respond.rawValue)
            }
            if !asks { members["answers"] = nil }
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
        case .shown(let word, let reading): return Self.condition(word, in: reading)
        }
    }

    /// That `reading` shows `s.facts` as `word`; the same as `StatusReading.word(for:)`.
    static func condition(_ word: String, in reading: StatusReading) -> String {
        func bit(_ fact: DeliveryFact) -> Int64 { DeliveryFacts(fact).bits }
        var facts = "s.facts"
        if reading.opens == .all {
            facts = "(s.facts | CASE WHEN s.facts & \(bit(.machineOpen)) <> 0 THEN \(bit(.opened)) ELSE 0 END)"
        }
        // The highest fact that has a word is one of those asked for.
        func isTop(_ fact: DeliveryFact) -> String {
            let higher = reading.vocabulary.mask.bits & ~((bit(fact) << 1) - 1)
            return "\(facts) & \(bit(fact)) <> 0 AND \(facts) & \(higher) = 0"
        }
        let asked = reading.vocabulary.facts(shownAs: word)
        guard reading.lateBounce == .shown else { return "(\(asked.facts.map(isTop).joined(separator: " OR ")))" }
        // A bounce after Delivered shows in its place.
        let bounces = DeliveryFacts(.bounced, .bouncedInvalid).bits
        var ways = asked.facts.map { fact in
            isTop(fact) + (fact == .delivered ? " AND s.facts & \(bounces) = 0" : "")
        }
        if asked.contains(.bouncedInvalid) {
            ways.append("\(isTop(.delivered)) AND s.facts & \(bit(.bouncedInvalid)) <> 0")
        }
        if asked.contains(.bounced) { ways.append("\(isTop(.delivered)) AND s.facts & \(bounces) = \(bit(.bounced))") }
        return "(\(ways.joined(separator: " OR ")))"
    }

    private func copyList(
        to child: BlastID, of caller: Caller, on connection: PostgresConnection
    ) async throws -> Int64 {
        let key: [PostgresParameter] = [.uuid(parent), .uuid(child)]
        // Every column that the list has, so that a follow-up reads like its parent.
        let columns = try await connection.query(Self.listColumns).first?.string("columns") ?? ""
        let copied = try await connection.query(
            """
            INSERT INTO recipient (blast_id, recipient_no, \(columns))
            SELECT $2, row_number() OVER (ORDER BY recipient_no), \(columns)
              FROM recipient r
             WHERE r.blast_id = $1
               AND EXISTS (SELECT FROM delivery_status s
                            WHERE s.blast_id = r.blast_id AND s.recipient_no = r.recipient_no
                              AND \(matches) AND \(Self.isOver))
            """, key)
        let audience = Int64(copied.affectedRows)
        try await FirstStatuses.insert(child, of: caller.district, audience: audience, on: connection)
        _ = try await connection.query(Self.attachments, key)
        _ = try await connection.query(
            """
            UPDATE blast c SET audience = $3, fields = p.fields FROM blast p
             WHERE c.blast_id = $2 AND p.blast_id = $1
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
        SELECT $2, name, district_id, media_type, sha256, content FROM blast_attachment WHERE blast_id = $1
        """
}

extension StatusReading {
    /// How the district reads facts.
    static func read(_ district: Int64, on connection: PostgresConnection) async throws -> StatusReading {
        let rows = try await connection.query(
            "SELECT vocabulary, late_bounce, opens FROM district WHERE district_id = $1", [.int(district)])
        return StatusReading(
            try rows.first.flatMap { StatusVocabulary.named(try $0.string("vocabulary")) } ?? .canonical,
            lateBounce: try rows.first.flatMap { LateBounce(rawValue: try $0.string("late_bounce")) } ?? .frozen,
            opens: try rows.first.flatMap { Opens(rawValue: try $0.string("opens")) } ?? .human)
    }
}

extension MemberReader {
    /// The reading that a request asks for in `vocabulary`, `late_bounce` and `opens`; what it leaves out is `usual`'s.
    fileprivate mutating func reading(else usual: StatusReading) -> StatusReading {
        let words = word("vocabulary", oneOf: StatusVocabulary.all.map(\.name))
        let late = word("late_bounce", oneOf: StatusReading.LateBounce.allCases.map(\.rawValue))
        let opens = word("opens", oneOf: StatusReading.Opens.allCases.map(\.rawValue))
        return StatusReading(
            words.flatMap(StatusVocabulary.named) ?? usual.vocabulary,
            lateBounce: late.flatMap(StatusReading.LateBounce.init(rawValue:)) ?? usual.lateBounce,
            opens: opens.flatMap(StatusReading.Opens.init(rawValue:)) ?? usual.opens)
    }

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
