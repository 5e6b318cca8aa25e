import Contracts
import Delivery
import Mail

/// Why a delivery has its status. Members that do not apply are left out.
// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
struct ExplanationResource: Encodable {
    struct Statement: Encodable {
        let fact: String
        /// `list`, `guard`, `sender`, `outgoing_server`, `receiving_server`, `provider`, `family` or `program`.
        let witness: String
        let said_by: String
        let at: String?
        let recorded_at: String?
        let event_id: String?
        /// The SMTP reply, the provider's words or our reason, as they were said.
        let said: String?
        let smtp_code: Int?
        let enhanced_code: String?

        init(_ statement: Explanation.Statement) {
            fact = statement.fact.name
            witness = statement.witness.rawValue
            said_by = statement.saidBy
            at = rfc3339(statement.at)
            recorded_at = rfc3339(statement.recordedAt)
            event_id = statement.eventID
            said = statement.said
            smtp_code = statement.code?.smtp
            enhanced_code = statement.code?.enhanced?.description
        }
    }

    /// The word shown.
    let status: String
    let decided_by: Statement
    let meaning: String
    let code_meaning: String?
    let caveat: String?
    let advice: String?
    let late_bounce: Statement?
    let notes: [String]

    init(_ explanation: Explanation) {
        status = explanation.word
        decided_by = Statement(explanation.deciding)
        meaning = explanation.meaning
        code_meaning = explanation.codeMeaning
        caveat = explanation.caveat
        advice = explanation.advice
        late_bounce = explanation.lateBounce.map(Statement.init)
        notes = explanation.notes
    }
}
