import Foundation

/// The merge values of one recipient: the columns of the list, and what every list has.
enum MergeFields {
    static func values(of recipient: Recipient) -> [String: Any] {
        let kind = Channel(address: recipient.address) == .sms ? "phone" : "email"
        var values: [String: Any] = [kind: recipient.address]
        if let name = recipient.name { values["name"] = name }
        if let person = recipient.personReference { values["person_ref"] = person }
        if let kind = recipient.personKind { values["person_kind"] = kind }
        if let school = recipient.school { values["school"] = school }
        if let locale = recipient.locale { values["locale"] = locale }
        guard recipient.fields != "{}",
            let fields = try? JSONSerialization.jsonObject(with: Data(recipient.fields.utf8)) as? [String: Any]
        else { return values }
        return values.merging(fields) { $1 }
    }
}

/// One recipient as dispatch needs it.
struct Recipient: Sendable {
    let number: Int32
    let address: String
    let addressHash: [UInt8]
    let name: String?
    let personReference: String?
    let school: String?
    /// A JSON object.
    let fields: String
    var personKind: String?
    var locale: String?
    /// An earlier recipient of the blast with the same address, who gets the message for both.
    var original: Int32?
}
