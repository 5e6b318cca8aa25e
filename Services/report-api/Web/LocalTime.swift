import Contracts
import Foundation

/// Times as staff of a district read them.
struct LocalTime: Sendable {
    private let calendar: Calendar
    let zoneName: String

    /// An unknown zone is shown as UTC.
    init(zone name: String) {
        let zone = TimeZone(identifier: name) ?? .gmt
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = zone
        self.calendar = calendar
        zoneName = TimeZone(identifier: name) == nil ? "UTC" : name.replacing("_", with: " ")
    }

    /// `May 11, 2017 9:44 am`
    func text(_ microseconds: Int64) -> String {
        let parts = parts(microseconds)
        return "\(date(parts)) \(clock(parts))"
    }

    /// `May 11, 2017 9:44:07 am`
    func precise(_ microseconds: Int64) -> String {
        let parts = parts(microseconds)
        return "\(date(parts)) \(clock(parts, seconds: true))"
    }

    /// `9:44 am`
    func clock(_ microseconds: Int64) -> String { clock(parts(microseconds)) }

    /// `May 11, 2017`
    func day(_ microseconds: Int64) -> String { date(parts(microseconds)) }

    /// For `<time datetime>`, beside the text.
    func values(_ microseconds: Int64, precise isPrecise: Bool = false) -> PageValues {
        [
            "iso": Timestamp.string(microseconds: microseconds),
            "text": isPrecise ? precise(microseconds) : text(microseconds),
        ]
    }

    /// `2017-05-11T09:44:07`, as a form's field has it.
    func fieldText(_ microseconds: Int64) -> String {
        let parts = parts(microseconds)
        return "\(parts.year ?? 1970)-\(pad(parts.month))-\(pad(parts.day))T\(pad(parts.hour)):\(pad(parts.minute))"
            + ":\(pad(parts.second))"
    }

    /// Reads what ``fieldText(_:)`` writes, with or without seconds. Nil for anything else.
    func microseconds(_ text: String) -> Int64? {
        // Checked as a time of UTC first: the calendar would accept a 31st of February.
        let full = text.utf8.count == 16 ? text + ":00" : text
        guard full.utf8.count == 19, let utc = Timestamp.microseconds(full + "Z") else { return nil }
        return calendar.date(from: LocalTime(zone: "GMT").parts(utc)).map {
            Int64($0.timeIntervalSince1970) * 1_000_000
        }
    }

    private func parts(_ microseconds: Int64) -> DateComponents {
        calendar.dateComponents(
            [.year, .month, .day, .hour, .minute, .second],
            from: Date(timeIntervalSince1970: Double(microseconds) / 1_000_000))
    }

    private func date(_ parts: DateComponents) -> String {
        "\(Self.months[((parts.month ?? 1) - 1) % 12]) \(parts.day ?? 1), \(parts.year ?? 1970)"
    }

    private func clock(_ parts: DateComponents, seconds: Bool = false) -> String {
        let hour = parts.hour ?? 0
        return "\(hour % 12 == 0 ? 12 : hour % 12):\(pad(parts.minute))" + (seconds ? ":\(pad(parts.second))" : "")
            + (hour < 12 ? " am" : " pm")
    }

    private func pad(_ number: Int?) -> String { (number ?? 0) < 10 ? "0\(number ?? 0)" : "\(number ?? 0)" }

    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
}

/// `12,345`
func grouped(_ number: Int64) -> String {
    var text = ""
    for (index, digit) in String(number.magnitude).reversed().enumerated() {
        if index > 0, index.isMultiple(of: 3) { text = "," + text }
        text = String(digit) + text
    }
    return number < 0 ? "-" + text : text
}

/// `1 recipient`, `12,345 recipients`
func counted(_ number: Int64, _ one: String, _ many: String) -> String {
    "\(grouped(number)) \(number == 1 ? one : many)"
}
