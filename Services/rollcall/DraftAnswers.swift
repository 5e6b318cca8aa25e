// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// The sender's answer to a list.
struct UploadedList: Decodable {
    struct Fault: Decodable {
        let line: Int
        let reason: String
    }
    let audience: Int
    let invalid: Int
    let no_address: Int
    let duplicates: Int
    let phones_ignored: Int
    let faults: [Fault]

    func show() {
        Terminal.say(
            "\(audience) recipients: \(invalid) invalid, \(no_address) without an address, \(duplicates) repeated")
        if phones_ignored > 0 { Terminal.complain("\(phones_ignored) telephone numbers are ignored: e-mail only") }
        for fault in faults.prefix(10) { Terminal.complain("line \(fault.line): \(Terminal.plain(fault.reason))") }
        if faults.count > 10 { Terminal.complain("… and \(faults.count - 10) lines more") }
    }
}

// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// What sending a draft would mean.
struct DraftSummary: Decodable {
    struct Field: Decodable {
        let name: String
        let empty: Int
    }
    struct Warning: Decodable {
        let detail: String
    }
    struct Texts: Decodable {
        let recipients: Int
        let segments: Int
    }
    let sms: Texts?
    let fields: [Field]
    let missing_fields: [String]
    let decisions: [String: Int]
    let warnings: [Warning]

    func show() {
        for field in fields where field.empty > 0 && !missing_fields.contains(field.name) {
            Terminal.complain("{{\(field.name)}} is empty for \(field.empty) recipients")
        }
        for field in missing_fields {
            Terminal.complain("{{\(field)}} is no column of the list: the order will be refused")
        }
        for warning in warnings { Terminal.complain(Terminal.plain(warning.detail)) }
        if let sms { Terminal.say("text messages: \(sms.recipients), segments: \(sms.segments)") }
        Terminal.say("would be: \(Self.words(decisions))")
    }

    /// The largest number first.
    static func words(_ counts: [String: Int]) -> String {
        counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "\($0.key) \($0.value)" }
            .joined(separator: ", ")
    }
}
