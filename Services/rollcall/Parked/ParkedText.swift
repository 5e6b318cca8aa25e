import Contracts
import Foundation
import Kafka

extension ParkedRecord {
    /// One line of the list.
    var line: String {
        let state =
            replay.map { "  replayed \(Timestamp.string(microseconds: $0.atMicroseconds)) by \($0.actor)" } ?? ""
        return Terminal.escaped(
            "\(Timestamp.string(microseconds: parkedAtMicroseconds))  \(kind.rawValue)  "
                + "\(services.sorted().joined(separator: ","))  \(id)  \(reason)\(state)")
    }

    /// Everything known, a line each.
    /// - Parameter headers: those of the record itself.
    func page(headers: [KafkaHeader]?) -> [String] {
        var lines = [
            "id         \(Terminal.escaped(id))", "kind       \(kind.rawValue)",
            "parked by  \(Terminal.escaped(services.sorted().joined(separator: ", ")))",
            "parked at  \(Timestamp.string(microseconds: parkedAtMicroseconds))",
        ]
        if let place {
            let partition = place.partition
            lines.append(
                Terminal.escaped(
                    "stood at   \(partition.topic), partition \(partition.partition), offset \(place.offset), "
                        + "cluster \(place.cluster)"))
        } else {
            lines.append("came by    \(Terminal.escaped(origin))")
        }
        lines.append("reason     \(Terminal.escaped(reason))")
        lines.append(
            "replayed   "
                + (replay.map {
                    "\(Timestamp.string(microseconds: $0.atMicroseconds)) by \(Terminal.escaped($0.actor))"
                } ?? "no"))
        if let key { lines.append("key        \(Terminal.escaped(key))") }
        if let headers {
            for header in headers {
                lines.append("header     \(Terminal.escaped(header.name)): \(Terminal.escaped(header.value))")
            }
        } else if place != nil {
            lines.append("header     (the record itself is no longer on this cluster)")
        }
        let isCut = value?.count == DeadLetter.valueMaxOctets && self.headers == nil
        lines.append("octets     \(value?.count ?? 0)\(isCut ? ", cut here" : "")")
        if let value { lines.append("value      \(Terminal.escaped(value))") }
        return lines
    }

    /// One JSON object on one line, in ASCII where anything else could reach a terminal.
    func json(headers: [KafkaHeader]?, withContent: Bool) throws -> String {
        var object: [String: Any] = [
            "id": id, "kind": kind.rawValue, "services": services.sorted(), "origin": origin, "reason": reason,
            "parked_at": Timestamp.string(microseconds: parkedAtMicroseconds),
        ]
        if let place {
            object["topic"] = place.partition.topic
            object["partition"] = place.partition.partition
            object["offset"] = place.offset
            object["cluster_id"] = place.cluster
        }
        if let replay {
            object["replayed_at"] = Timestamp.string(microseconds: replay.atMicroseconds)
            object["replayed_by"] = replay.actor
        }
        if withContent {
            object["key_base64"] = key.map { Data($0).base64EncodedString() }
            object["value_base64"] = value.map { Data($0).base64EncodedString() }
            object["headers"] = headers?.map {
                ["name": $0.name, "value_base64": Data($0.value).base64EncodedString()]
            }
        }
        let data = try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self).unicodeScalars.map(Self.ascii).joined()
    }

    private static func ascii(_ scalar: Unicode.Scalar) -> String {
        if Terminal.isVisible(scalar) { return String(scalar) }
        return String(scalar).utf16.map { unit in
            let digits = String(unit, radix: 16)
            return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }.joined()
    }
}
