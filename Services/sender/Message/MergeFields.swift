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

    /// What every list has of a recipient of mail.
    enum Common: String, Sendable {
        case email, name, school, locale
        case personReference = "person_ref"
        case personKind = "person_kind"

        func text(of recipient: Recipient) -> String? {
            switch self {
            case .email: recipient.address
            case .name: recipient.name
            case .school: recipient.school
            case .locale: recipient.locale
            case .personReference: recipient.personReference
            case .personKind: recipient.personKind
            }
        }
    }

    /// A value that templates ask for.
    struct Name: Sendable {
        let octets: [UInt8]
        let common: Common?

        init(_ text: String) {
            octets = Array(text.utf8)
            common = Common(rawValue: text)
        }
    }

    /// The texts of a recipient of mail for `names`, empty where there is none.
    ///
    /// The same as `values(of:)` gives, without a dictionary. Nil where that has to be asked: a value that is asked for is
    /// no text, or the object is not written in the plainest way.
    static func texts(of recipient: Recipient, for names: [Name]) -> [[UInt8]]? {
        var texts = names.map { name in Array((name.common?.text(of: recipient) ?? "").utf8) }
        guard recipient.fields != "{}" else { return texts }
        var object = FlatObject(recipient.fields)
        let isRead = object.read { key, value in
            guard let index = names.firstIndex(where: { $0.octets.elementsEqual(key) }) else { return true }
            guard let value else { return false }
            texts[index] = value
            return true
        }
        return isRead ? texts : nil
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
