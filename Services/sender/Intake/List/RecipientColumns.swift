/// Where the value of a column goes.
enum RecipientColumn: Hashable {
    case email, phone, name, personRef, personKind, familyRef, studentRef, staffRef, school, locale, categories
    /// Consent to everything, or to the messages of one category.
    case consent
    case consentTo(String)
    /// A merge field, by its number in `RecipientColumns.fields`.
    case field(Int)
}

/// Decides what a column of a list means, by its name.
///
/// Staff write headings as people do, so letter case, spaces, hyphens and underscores do not matter. A heading is one of
/// the known columns, or the name of a merge field that the blast's templates use, or a merge field announced as
/// `field.<name>`. Anything else is refused: a mistyped heading would otherwise lose a column silently.
struct RecipientColumns {
    static let known: [(name: String, column: RecipientColumn)] = [
        ("email", .email), ("address", .email), ("e-mail address", .email), ("name", .name),
        ("person_ref", .personRef), ("person", .personRef), ("school", .school), ("categories", .categories),
        ("category", .categories), ("phone", .phone), ("person_kind", .personKind),
        ("family_ref", .familyRef), ("student_ref", .studentRef), ("staff_ref", .staffRef), ("locale", .locale),
        ("consent", .consent),
    ]

    private let tags: [String]
    private let knownByKey: [[UInt8]: RecipientColumn]
    private let tagsByKey: [[UInt8]: String]
    /// The merge fields met so far; positions are what `RecipientColumn.field` carries.
    private(set) var fields: [String] = []
    private var fieldNumbers: [String: Int] = [:]

    /// - Parameter tags: the names that the blast's templates use.
    init(tags: Set<String>) {
        self.tags = tags.sorted()
        knownByKey = Dictionary(Self.known.map { (Self.key(Array($0.name.utf8)), $0.column) }) { first, _ in first }
        tagsByKey = Dictionary(self.tags.map { (Self.key(Array($0.utf8)), $0) }) { first, _ in first }
    }

    /// The column that `heading` names.
    /// - Throws: `ListFault` without a line's column number; the caller knows where the heading stands.
    mutating func column(named heading: String, line: Int) throws(ListFault) -> RecipientColumn {
        let octets = Array(heading.utf8)
        if let known = knownByKey[Self.key(octets)] { return known }
        if octets.starts(with: Self.fieldPrefix) {
            let name = String(decoding: octets.dropFirst(Self.fieldPrefix.count), as: UTF8.self)
            guard TemplateTags.isName(name) else {
                throw ListFault(
                    .unknownColumn, line: line, column: heading,
                    reason: "a merge field's name is made of letters, digits, _ and -, begins with a letter or _, and "
                        + "has at most \(TemplateTags.nameOctets) octets")
            }
            return field(name)
        }
        if octets.starts(with: Self.consentPrefix) {
            let category = String(
                decoding: CellText.trim(octets[Self.consentPrefix.count...]), as: UTF8.self)
            guard !category.isEmpty, category != "*" else {
                throw ListFault(
                    .unknownColumn, line: line, column: heading,
                    reason: "after consent. stands the name of a category, such as consent.attendance")
            }
            return .consentTo(category)
        }
        if tags.contains(heading) { return field(heading) }
        if let tag = tagsByKey[Self.key(octets)] { return field(tag) }
        throw unknown(heading, line: line)
    }

    private mutating func field(_ name: String) -> RecipientColumn {
        if let number = fieldNumbers[name] { return .field(number) }
        let number = fields.count
        fields.append(name)
        fieldNumbers[name] = number
        return .field(number)
    }

    private func unknown(_ heading: String, line: Int) -> ListFault {
        let nearest = Nearest.name(to: heading, among: Self.known.map(\.name) + tags)
        let hint = nearest.map { " Did you mean \($0)?" } ?? ""
        return ListFault(
            .unknownColumn, line: line, column: heading, nearest: nearest,
            reason: "no column has this name and no template of the blast uses it.\(hint) Known columns: email, phone, "
                + "name, person_ref, person_kind, family_ref, student_ref, staff_ref, school, locale, categories, "
                + "consent, consent.CATEGORY. To keep it as a merge field, head it field.NAME.")
    }

    private static let consentPrefix = Array("consent.".utf8)
    private static let fieldPrefix = Array("field.".utf8)

    /// A name without what people vary: letter case, spaces, hyphens, underscores.
    private static func key(_ octets: [UInt8]) -> [UInt8] {
        octets.compactMap { octet in
            switch octet {
            case 0x20, 0x2D, 0x5F: nil
            case 0x41...0x5A: octet + 0x20
            default: octet
            }
        }
    }
}
