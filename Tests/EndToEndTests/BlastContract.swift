import Contracts
import Delivery
import Foundation
import Kafka
import TestKit
import Testing

extension BlastRig {
    /// Every record of every topic keeps the published contract, as an independent validator reads it.
    /// - Parameters:
    ///   - filled: topics that must have records.
    ///   - except: values that the test put there itself.
    func expectContractKept(
        on filled: [Topic] = [
            .chunksRequested, .chunksCleared, .deliveryEvents, .deliveryStatus, .blastProgress, .blacklist,
        ], except: Set<String> = []
    ) async throws {
        let folder = stack.stateFolder.appending(path: "captured")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var count = 0
        var captured: Set<String> = []
        for topic in Topic.all {
            let records = try await stack.readAll(topic).filter {
                topic == .deadLetters || !except.contains(String(decoding: $0.value ?? [], as: UTF8.self))
            }
            let lines = try records.map { record in
                String(
                    decoding: try JSONSerialization.data(withJSONObject: described(record), options: .sortedKeys),
                    as: UTF8.self)
            }
            try lines.joined(separator: "\n").write(
                to: folder.appending(path: "\(topic.name).ndjson"), atomically: true, encoding: .utf8)
            count += records.count
            // An address holds an @, and nothing that is published does.
            if [.deliveryStatus, .blastProgress, .blacklist].contains(topic) {
                #expect(!lines.contains { $0.contains("@") }, "\(topic.name): a key or header may be one")
                let values = records.compactMap(\.value)
                #expect(!values.contains { $0.contains(UInt8(ascii: "@")) }, "\(topic.name): a value may be one")
            }
            if !records.isEmpty { captured.insert(topic.name) }
        }
        for topic in filled { #expect(captured.contains(topic.name), "nothing was captured from \(topic.name)") }
        let validator = ProjectFolder.root.appending(path: "Tests/ContractsTests/validate.py")
        let result = try await TestKit.Command.run(
            ProjectFolder.python, [validator.path, "--captured", folder.path])
        #expect(result.status == 0, "\(result.output.suffix(4000))")
        #expect(result.output.contains("\(count) records checked"), "\(result.output.suffix(4000))")
        // Kept for a look only where there is something to see.
        if result.status == 0 { try FileManager.default.removeItem(at: folder) }
        print("records of \(captured.count) topics that keep the contract: \(count)")
    }

    private func described(_ record: ConsumerRecord) -> [String: Any] {
        [
            "topic": record.topicPartition.topic, "partition": Int(record.topicPartition.partition),
            "offset": record.offset, "key": String(decoding: record.key ?? [], as: UTF8.self),
            "headers": record.headers.map { [$0.name, String(decoding: $0.value, as: UTF8.self)] },
            "value_base64": record.value.map { Data($0).base64EncodedString() as Any } ?? NSNull(),
        ]
    }
}
