import Contracts
import Delivery
import Foundation
import Kafka
import TestKit

/// The independent fold in `reference.py`.
enum Reference {
    static func run(_ arguments: [String], input: URL = URL(filePath: "/dev/null")) async throws -> Data {
        let file = FileManager.default.temporaryDirectory.appending(path: "reference-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        let script = ProjectFolder.root.appending(path: "Tests/ProjectorTests/reference.py").path
        let result = try await Command.run(
            URL(filePath: "/bin/sh"),
            [
                "-c", #"in=$1 out=$2; shift 2; exec "$@" <"$in" >"$out""#, "sh", input.path, file.path,
                ProjectFolder.python.path, script,
            ] + arguments)
        guard result.status == 0 else { throw TestKitError("reference.py \(arguments): \(result.output)") }
        return try Data(contentsOf: file)
    }

    static func cases(from first: Int, count: Int) async throws -> [HistoryCase] {
        let decoder = JSONDecoder()
        return try await run(["cases", "\(first)", "\(count)"]).split(separator: UInt8(ascii: "\n"))
            .map { try decoder.decode(HistoryCase.self, from: Data($0)) }
    }

    /// One long history of one blast.
    static func history(seed: Int, recipients: Int, records: Int) async throws -> HistoryCase {
        try JSONDecoder().decode(
            HistoryCase.self, from: try await run(["history", "\(seed)", "\(recipients)", "\(records)"]))
    }

    /// One short history of one blast, whose orders are all the ways to split it into batches.
    static func splits(seed: Int, recipients: Int, records: Int) async throws -> HistoryCase {
        try JSONDecoder().decode(
            HistoryCase.self, from: try await run(["splits", "\(seed)", "\(recipients)", "\(records)"]))
    }

    /// Which rows of `actual` the reference does not have, and the other way round.
    static func difference(seed: Int, order: Int, _ actual: [String]) async throws -> String {
        let expected = Set(
            String(decoding: try await run(["rows", "\(seed)"]), as: UTF8.self).split(separator: "\n")
                .filter { $0.hasPrefix("\(order) ") }.map { String($0.dropFirst(2)) })
        let missing = expected.subtracting(actual).sorted().prefix(6)
        let surplus = Set(actual).subtracting(expected).sorted().prefix(6)
        return "the reference has \(missing), the tables have \(surplus)"
    }
}

/// A random history, the orders in which it is told, and the hashes of what the tables must say after each.
struct HistoryCase: Decodable, Sendable {
    let seed: Int
    /// The number of recipients of each blast.
    let blasts: [Int32]
    let records: [Record]
    /// Per order its batches, each of positions in `records`.
    let orders: [[[Int]]]
    let state: String
    let logs: [String]
    /// How many records of the first order are parked, and how many name a delivery without a row.
    let dead: Int
    let late: Int
    /// The facts of the first blast's recipients.
    let facts: [String: Int64]

    struct Record: Decodable, Sendable {
        let headers: [String: String]
        let value: String
        let timestampMs: Int64

        init(from decoder: any Decoder) throws {
            var list = try decoder.unkeyedContainer()
            headers = try list.decode([String: String].self)
            value = try list.decode(String.self)
            timestampMs = try list.decode(Int64.self)
        }

        /// The subject with its placeholder replaced: also the key.
        func subject(_ blasts: [BlastID]) -> String {
            var subject = headers["ce_subject"] ?? ""
            for (index, blast) in blasts.enumerated() where subject.hasPrefix("@\(index)/") {
                subject = blast.description + subject.dropFirst("@\(index)".count)
            }
            return subject
        }

        func kafkaHeaders(_ blasts: [BlastID]) -> [KafkaHeader] {
            headers.map { KafkaHeader(name: $0.key, text: $0.key == "ce_subject" ? subject(blasts) : $0.value) }
        }
    }

    func consumed(_ position: Int, offset: Int64, part: Int32, _ blasts: [BlastID]) -> ConsumerRecord {
        let record = records[position]
        return ConsumerRecord(
            topicPartition: TopicPartition(topic: Topic.deliveryEvents.name, partition: part), offset: offset,
            timestampMs: record.timestampMs, key: Array(record.subject(blasts).utf8), value: Array(record.value.utf8),
            headers: record.kafkaHeaders(blasts))
    }

    /// The first order as records for the broker.
    func produced(_ blasts: [BlastID]) -> [ProducerRecord] {
        orders[0].flatMap { $0 }.map { produced($0, blasts) }
    }

    private func produced(_ position: Int, _ blasts: [BlastID]) -> ProducerRecord {
        let record = records[position]
        return ProducerRecord(
            topic: Topic.deliveryEvents.name, key: Array(record.subject(blasts).utf8), value: Array(record.value.utf8),
            headers: record.kafkaHeaders(blasts))
    }
}
