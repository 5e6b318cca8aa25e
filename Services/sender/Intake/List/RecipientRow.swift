import Delivery
import Mail
import Signing

/// One recipient of a list, ready to be stored.
struct RecipientRow {
    let line: Int
    var address = ""
    var addressHash: [UInt8]?
    var fault: DeliveryFact?
    var faultReason: String?
    var name: String?
    var personRef: String?
    var school: String?
    var categories: [String]?
    /// Merge fields with a value: number of the name in `RecipientColumns.fields`, value. An empty value is left out, so
    /// that a template's section over it does not show.
    var fields: [(number: Int, value: String)] = []

    init(line: Int) { self.line = line }

    mutating func set(_ column: RecipientColumn, _ text: String) {
        switch column {
        case .email: address = text
        case .name: name = text.isEmpty ? nil : text
        case .personRef: personRef = text.isEmpty ? nil : text
        case .school: school = text.isEmpty ? nil : text
        case .categories: set(categories: text.split(separator: ";").map(String.init))
        case .field(let number): if !text.isEmpty { fields.append((number, text)) }
        }
    }

    mutating func set(categories values: [String]) {
        let names = values.map { String(decoding: CellText.trim(Array($0.utf8)[...]), as: UTF8.self) }
            .filter { !$0.isEmpty }
        categories = names.isEmpty ? nil : names
    }

    /// Judges the address. A bad one makes the recipient invalid, never the list.
    mutating func judgeAddress(_ hasher: AddressHasher) {
        do {
            addressHash = hasher.hash(matchingKey: try EmailAddress(parsing: address).matchingKey)
        } catch {
            fault = error == .empty ? .noAddress : .invalid
            faultReason = error.reason
        }
    }
}
