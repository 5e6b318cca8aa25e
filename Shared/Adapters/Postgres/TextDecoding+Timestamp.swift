extension TextDecoding {
    /// `2026-11-21 20:04:26.123456+00`. Infinity, and years before the common era, are nobody's sending time: `nil`.
    static func timestampMicroseconds(_ text: Bytes) -> Int64? {
        var reader = Reader(rest: text)
        guard let year = reader.number(digits: 4...6), reader.skip("-"),
            let month = reader.number(digits: 2...2), reader.skip("-"),
            let day = reader.number(digits: 2...2), (1...12).contains(month), (1...31).contains(day)
        else { return nil }
        let midnight = daysSince1970(year: year, month: month, day: day) * 86_400
        if reader.rest.isEmpty { return midnight * 1_000_000 }
        guard reader.skip(" "), let hour = reader.number(digits: 2...2), reader.skip(":"),
            let minute = reader.number(digits: 2...2), reader.skip(":"), let second = reader.number(digits: 2...2)
        else { return nil }
        var fraction: Int64 = 0
        if reader.skip(".") {
            let digits = reader.rest.prefix { decimal($0) != nil }.count
            guard let value = reader.number(digits: 1...6) else { return nil }
            fraction = (digits..<6).reduce(value) { scaled, _ in scaled * 10 }
        }
        guard let offset = reader.offsetSeconds(), reader.rest.isEmpty else { return nil }
        return (midnight + hour * 3_600 + minute * 60 + second - offset) * 1_000_000 + fraction
    }

    private struct Reader {
        var rest: Bytes

        mutating func skip(_ character: Unicode.Scalar) -> Bool {
            guard let byte = rest.first, UInt32(byte) == character.value else { return false }
            rest = rest.dropFirst()
            return true
        }

        mutating func number(digits: ClosedRange<Int>) -> Int64? {
            var value: Int64 = 0
            var count = 0
            while count < digits.upperBound, let digit = rest.first.flatMap(TextDecoding.decimal) {
                value = value * 10 + digit
                count += 1
                rest = rest.dropFirst()
            }
            return count >= digits.lowerBound ? value : nil
        }

        /// `+00`, `-03:30`, or nothing.
        mutating func offsetSeconds() -> Int64? {
            if rest.isEmpty { return 0 }
            let west = skip("-")
            guard west || skip("+"), let hours = number(digits: 2...2) else { return nil }
            var seconds = hours * 3_600
            if skip(":") {
                guard let minutes = number(digits: 2...2) else { return nil }
                seconds += minutes * 60
            }
            if skip(":") {
                guard let rest = number(digits: 2...2) else { return nil }
                seconds += rest
            }
            return west ? -seconds : seconds
        }
    }

    /// Proleptic Gregorian calendar, years counted from March so that the leap day ends one.
    private static func daysSince1970(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }
}
