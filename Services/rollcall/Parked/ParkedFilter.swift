import ArgumentParser
import Contracts
import Foundation
import Kafka
import Runtime

/// Which parked records are meant.
struct ParkedFilter: ParsableArguments {
    @Option(help: "Only this kind: \(ParkedRecord.Kind.allCases.map(\.rawValue).joined(separator: " or ")).")
    var kind: ParkedRecord.Kind?
    @Option(help: "Only those whose reason contains this text.") var reason: String?
    @Option(help: "Only those parked since: a time such as 2026-09-01T06:00:00Z, or an age such as 45m, 6h or 7d.")
    var since: Since?
    @Option(help: "Only those of this topic.") var topic: String?
    @Option(help: "Only those of this partition.") var partition: Int32?
    @Option(help: "Only those that this service parked.") var service: String?
    @Flag(help: "Also those that were replayed already.") var replayed = false
    @Option(
        help: "At most so many, the newest; a list without it shows \(ParkedFilter.listMax), --all takes everything.")
    var limit: Int?

    static let listMax = 1000

    func validate() throws {
        guard limit ?? 1 > 0 else { throw ValidationError("--limit is a number from 1.") }
    }

    struct Since: ExpressibleByArgument {
        let microseconds: Int64

        init?(argument: String) {
            if let time = Timestamp.microseconds(argument) {
                microseconds = time
                return
            }
            guard let age = DurationText.parse(argument), age < .seconds(100_000 * 86400) else { return nil }
            microseconds = Int64((Date().timeIntervalSince1970 - age / .seconds(1)) * 1_000_000)
        }
    }

    var sinceMicroseconds: Int64? { since?.microseconds }

    static var everything: ParkedFilter {
        get throws { try ParkedFilter.parse(["--replayed"]) }
    }

    func passes(_ record: ParkedRecord, isReplayed: Bool) -> Bool {
        (kind == nil || kind == record.kind) && (replayed || !isReplayed)
            && (reason.map { record.reason.localizedCaseInsensitiveContains($0) } ?? true)
            && record.parkedAtMicroseconds >= sinceMicroseconds ?? .min
            && (topic == nil || topic == record.place?.partition.topic)
            && (partition == nil || partition == record.place?.partition.partition)
            && (service.map { record.services.contains($0) } ?? true)
    }
}

extension ParkedRecord.Kind: ExpressibleByArgument {}
