import Delivery
import Mail
import Signing

/// The way to a person. One person reached both ways has two deliveries (C-08).
enum RecipientChannel: String, Sendable {
    case email, sms
}

/// One recipient of a list, ready to be stored.
struct RecipientRow {
    let line: Int
    var channel = RecipientChannel.email
    var address = ""
    var phone = ""
    var addressHash: [UInt8]?
    var fault: DeliveryFact?
    var faultReason: String?
    var name: String?
    var personRef: String?
    var personKind: String?
    var school: String?
    var locale: String?
    var categories: [String]?
    /// Categories for which consent was refused, * for all.
    var consentRefused: [String] = []
    /// Merge fields with a value: number of the name in `RecipientColumns.fields`, value. An empty value is left out, so
    /// that a template's section over it does not show.
    var fields: [(number: Int, value: String)] = []

    init(line: Int) { self.line = line }

    /// - Throws: `ListFault` for what may not be guessed at: consent, kinds of persons, locales.
    mutating func set(_ column: RecipientColumn, _ text: String) throws(ListFault) {
        switch column {
        case .email: address = text
        case .phone: phone = text
        case .name: name = text.isEmpty ? nil : text
        case .personRef: try setPerson(text, kind: nil)
        case .familyRef: try setPerson(text, kind: "family")
        case .studentRef: try setPerson(text, kind: "student")
        case .staffRef: try setPerson(text, kind: "staff")
        case .personKind: try setKind(text)
        case .school: school = text.isEmpty ? nil : text
        case .locale: try setLocale(text)
        case .categories: set(categories: text.split(separator: ";").map(String.init))
        case .consent: try setConsent(text, to: "*")
        case .consentTo(let category): try setConsent(text, to: category)
        case .field(let number): if !text.isEmpty { fields.append((number, text)) }
        }
    }

    mutating func set(categories values: [String]) {
        let names = values.map { String(decoding: CellText.trim(Array($0.utf8)[...]), as: UTF8.self) }
            .filter { !$0.isEmpty }
        categories = names.isEmpty ? nil : names
    }

    private mutating func setPerson(_ text: String, kind: String?) throws(ListFault) {
        guard !text.isEmpty else { return }
        guard personRef == nil else {
            throw fault(
                "another column of the line names a person already; a recipient is one family, student or staff")
        }
        personRef = text
        if let kind { try setKind(kind) }
    }

    private mutating func setKind(_ text: String) throws(ListFault) {
        guard !text.isEmpty else { return }
        let kind = text.lowercased()
        guard ["family", "student", "staff"].contains(kind) else {
            throw fault("the kind of a person is family, student or staff")
        }
        guard personKind == nil || personKind == kind else {
            throw fault("the line calls the person a \(kind) and a \(personKind ?? "") at once")
        }
        personKind = kind
    }

    private mutating func setLocale(_ text: String) throws(ListFault) {
        guard !text.isEmpty else { return }
        let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        let isPlain = parts.allSatisfy { part in
            (1...8).contains(part.count)
                && part.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20) }
        }
        guard isPlain, text.utf8.count <= 35, let first = parts.first, (2...3).contains(first.count) else {
            throw fault("a locale is written like es or pt-BR (BCP 47)")
        }
        locale = text
    }

    private mutating func setConsent(_ text: String, to category: String) throws(ListFault) {
        switch text.lowercased() {
        case "", "yes", "y", "true", "1": break
        case "no", "n", "false", "0": consentRefused.append(category)
        default: throw fault("consent is yes or no, or empty when it was not asked for")
        }
    }

    private func fault(_ reason: String) -> ListFault { ListFault(.malformed, line: line, reason: reason) }

    /// Judges the address. A bad one makes the recipient invalid, never the list.
    mutating func judgeAddress(_ hasher: AddressHasher) {
        do {
            addressHash = hasher.hash(matchingKey: try EmailAddress(parsing: address).matchingKey)
        } catch {
            fault = error == .empty ? .noAddress : .invalid
            faultReason = error.reason
        }
    }

    /// The same recipient by telephone.
    func byPhone(_ hasher: AddressHasher) -> RecipientRow {
        var row = self
        row.channel = .sms
        row.address = phone
        do throws(PhoneNumber.Fault) {
            let number = try PhoneNumber(parsing: phone)
            row.address = number.e164
            row.addressHash = hasher.hash(matchingKey: number.matchingKey)
            row.fault = nil
            row.faultReason = nil
        } catch {
            row.addressHash = nil
            row.fault = error == .empty ? .noAddress : .invalid
            row.faultReason = error.reason
        }
        return row
    }
}

/// A telephone number in E.164. The country is never guessed: a number without its code is refused.
struct PhoneNumber: Equatable, Sendable {
    enum Fault: Error, Equatable {
        case empty, noCountryCode, notANumber, length

        var reason: String {
            switch self {
            case .empty: "The list has no telephone number for this recipient."
            case .noCountryCode: "The number does not begin with + and the country code, as in +1 555 010 0123."
            case .notANumber: "The number has a character that is no digit, space, dot, hyphen, slash or bracket."
            case .length: "A telephone number has 8 to 15 digits with its country code, which does not begin with 0."
            }
        }
    }

    let e164: String

    /// By which lists know it, beside addresses of mail.
    var matchingKey: String { "tel:\(e164)" }

    init(parsing text: String) throws(Fault) {
        guard !text.isEmpty else { throw .empty }
        guard text.utf8.first == UInt8(ascii: "+") else { throw .noCountryCode }
        var digits: [UInt8] = []
        for octet in text.utf8.dropFirst() {
            switch octet {
            case 0x30...0x39: digits.append(octet)
            case 0x20, 0x28, 0x29, 0x2D, 0x2E, 0x2F: continue
            default: throw .notANumber
            }
        }
        guard (8...15).contains(digits.count), digits.first != 0x30 else { throw .length }
        e164 = "+" + String(decoding: digits, as: UTF8.self)
    }
}
