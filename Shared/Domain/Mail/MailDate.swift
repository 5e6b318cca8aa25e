/// Date-times of RFC 5322 in UTC, from seconds since 1970.
public enum MailDate {
    private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// For example `Sat, 21 Nov 2026 19:00:00 +0000`. Right for the years 1 to 9999; other instants are moved to the
    /// nearest of these.
    public static func string(unixSeconds: Int64) -> String {
        let seconds = min(max(unixSeconds, -62_135_596_800), 253_402_300_799)
        let day = (seconds >= 0 ? seconds : seconds - 86_399) / 86_400
        let rest = seconds - day * 86_400
        let weekday = Int(((day % 7) + 11) % 7)
        let (year, month, date) = civil(day)
        var text: [UInt8] = []
        text.reserveCapacity(32)
        text += "\(days[weekday]), ".utf8
        append(date, 2, " ", to: &text)
        text += "\(months[Int(month) - 1]) ".utf8
        append(year, 4, " ", to: &text)
        append(rest / 3_600, 2, ":", to: &text)
        append(rest / 60 % 60, 2, ":", to: &text)
        append(rest % 60, 2, " +0000", to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Proleptic Gregorian date of a day number, by eras of 400 years that begin in March.
    private static func civil(_ day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    private static func append(_ number: Int64, _ width: Int, _ separator: String, to text: inout [UInt8]) {
        let digits = String(number).utf8
        for _ in 0..<max(0, width - digits.count) { text.append(UInt8(ascii: "0")) }
        text += digits
        text += separator.utf8
    }
}
