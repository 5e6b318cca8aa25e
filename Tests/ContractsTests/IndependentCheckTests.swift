import Contracts
import Delivery
import Foundation
import Postgres
import TestKit
import Testing

/// The published files judged by programs that share no code with ours.
@Suite struct `The contract, read by others` {
    @Test func `the schemas, the references and every example hold, and readers of the last release are kept`()
        async throws
    {
        let result = try await ContractFiles.validate()
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output.contains("examples checked") && !result.output.contains("0 released schemas"))
    }

    private func described() async throws -> [String: [String: Any]] {
        let result = try await ContractFiles.validate("--topics")
        let line = result.output.split(separator: "\n").first { $0.hasPrefix("{") } ?? ""
        return try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: [String: Any]])
    }

    @Test func `asyncapi describes the topics that are created`() async throws {
        let described = try await described()
        #expect(Set(described.keys) == Set(Topic.all.map(\.name)))
        for topic in Topic.all {
            let channel = try #require(described[topic.name])
            let settings = try #require(channel["topicConfiguration"] as? [String: Any])
            #expect(channel["partitions"] as? Int == topic.partitions, "\(topic.name)")
            #expect((settings["cleanup.policy"] as? [String])?.joined(separator: ",") == topic.cleanup.rawValue)
            let made = topic.configuration(replicationFactor: 3)
            #expect(settings["retention.ms"].map { "\($0)" } == made["retention.ms"], "\(topic.name)")
            let time = settings["message.timestamp.type"].map { "\($0)" }
            #expect(time == made["message.timestamp.type"], "\(topic.name)")
            #expect(channel["send"] as? [String] == topic.writers.components(separatedBy: ", "), "\(topic.name)")
        }
    }

    @Test func `the guide says of every topic who may write, who may read, and what personal data it has`() async throws
    {
        let described = try await described()
        let rows = try ContractFiles.guide().split(separator: "\n").filter { $0.hasPrefix("| `rollcall.") }
        #expect(rows.count == described.count)
        for row in rows {
            let cells = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            try #require(cells.count == 5, "\(row)")
            let topic = try #require(described[cells[0].replacing("`", with: "")], "\(cells[0]) does not exist")
            #expect(Set(cells[2].components(separatedBy: ", ")) == Set(topic["send"] as? [String] ?? []), "\(row)")
            #expect(Set(cells[3].components(separatedBy: ", ")) == Set(topic["receive"] as? [String] ?? []), "\(row)")
            #expect(!cells[4].isEmpty, "\(row)")
        }
    }

    @Test func `the guide's retention is that of the topics`() throws {
        let guide = try ContractFiles.guide()
        let days = Topic.deliveryStatus.retention.components.seconds / 86_400
        #expect(guide.contains("| `retention.ms` | \(days) days |"))
        #expect(guide.contains("beside `v1` for at least \(days) days"))
        let settings = Topic.deliveryStatus.configuration(replicationFactor: 3)
        let lag = try #require(settings["min.compaction.lag.ms"].flatMap { Int($0) })
        #expect(guide.contains("| `min.compaction.lag.ms` | \(lag / 86_400_000) days |"))
        #expect(Topic.blastProgress.retention == Topic.deliveryStatus.retention)
        for topic in [Topic.deliveryStatus, .blastProgress] {
            let made = topic.configuration(replicationFactor: 3)
            #expect(made["segment.ms"] == "86400000" && guide.contains("| `segment.ms` | 1 day |"))
            #expect(made["segment.bytes"] == "67108864" && guide.contains("| `segment.bytes` | 64 MiB |"))
        }
    }

    /// One damage each to a record that is right.
    @Test(
        arguments: [
            (#""final":true"#, #""final":false"#, "final is False"),
            (#""version":3"#, #""version":2"#, "version is 2"),
            (#""status":"delivered""#, #""status":"bounced""#, "status is bounced"),
            (#""seq":512"#, #""seq":"512""#, "is not of type 'integer'"),
            (#""seq":512"#, #""seq":512,"seq":513"#, "duplicate member"),
            (#""seq":512"#, #""seq":512,"extra":1"#, "Additional properties"),
            (#""seq":512,"#, "", "'seq' is a required property"),
            (#""recipient_no":42"#, #""recipient_no":43"#, "key is"),
        ])
    func `a captured record that breaks the contract is reported`(old: String, new: String, fault: String) async throws
    {
        let example = try Self.captured
        let text = String(decoding: try example.octets, as: UTF8.self)
        try #require(text.contains(old))
        for (value, status) in [(text, Int32(0)), (text.replacing(old, with: new), 1)] {
            let result = try await judged(example, headers: example.headers, value: value)
            #expect(result.status == status, "\(result.output)")
            if status != 0 { #expect(result.output.contains(fault), "\(result.output)") }
        }
    }

    private static var captured: `The public contract`.Example {
        get throws {
            try #require(try `The public contract`.examples().first { $0.name == "delivery-status-late-bounce.json" })
        }
    }

    private func judged(
        _ example: `The public contract`.Example, headers: [String: String], value: String
    ) async throws -> TestKit.Command.Result {
        let record: [String: Any] = [
            "topic": example.topic, "partition": 0, "offset": 0, "key": example.key,
            "headers": headers.map { [$0.key, $0.value] }, "value_base64": Data(value.utf8).base64EncodedString(),
        ]
        var result: TestKit.Command.Result?
        try await ContractFiles.withTemporaryFolder { folder in
            try JSONSerialization.data(withJSONObject: record).write(to: folder.appending(path: "x.ndjson"))
            result = try await ContractFiles.validate("--captured", folder.path)
        }
        return try #require(result)
    }

    /// One damage each to the headers of a record that is right; `nil` removes one.
    @Test(
        arguments: [
            ("ce_id", nil, "reads id as"), ("ce_id", "", "must not be None or empty"),
            ("ce_time", nil, "reads time as"), ("ce_time", "yesterday", "refuses it: "),
            ("ce_time", "2026-11-21T08:15:30.250000", "must be timezone aware"),
            ("ce_specversion", nil, "reads specversion as"), ("ce_specversion", "2.0", "must be '1.0'"),
            ("ce_source", nil, "refuses it: "), ("ce_type", nil, "refuses it: "),
            ("ce_some-thing", "x", "should only contain lowercase letters and numbers"),
        ] as [(String, String?, String)])
    func `the CloudEvents SDK reads every record, and reports one whose attributes are wrong`(
        name: String, damage: String?, fault: String
    ) async throws {
        let example = try Self.captured
        let text = String(decoding: try example.octets, as: UTF8.self)
        var headers = example.headers
        headers[name] = damage
        let result = try await judged(example, headers: headers, value: text)
        let reports = result.output.split(separator: "\n").filter { $0.contains("the CloudEvents SDK") }
        #expect(result.status == 1 && reports.contains { $0.contains(fault) }, "\(result.output)")
    }

    /// One damage each that is right YAML and leaves every reference whole.
    @Test(
        arguments: [
            ("\n  title: Rollcall\n", "\n", "$.info: 'title' is a required property"),
            ("asyncapi: 3.0.0", "asyncapi: 3.0.1", "$.asyncapi: '3.0.0' was expected"),
            ("partitions: 4", "partitions: '4'", "'4' is not of type 'integer'"),
            ("          - compact\n", "          - compress\n", "'compress' is not one of"),
            ("action: receive", "action: read", "'read' is not one of ['send', 'receive']"),
            ("      contentType: ", "      contenttype: ", "'contenttype' does not match any"),
        ])
    func `AsyncAPI's own schema reports what asyncapi.yaml must not say`(old: String, new: String, fault: String)
        async throws
    {
        try await ContractFiles.withTemporaryFolder { folder in
            let text = try String(contentsOf: ContractFiles.folder.appending(path: "asyncapi.yaml"), encoding: .utf8)
            try #require(text.contains(old))
            let file = folder.appending(path: "asyncapi.yaml")
            try text.replacing(old, with: new).write(to: file, atomically: true, encoding: .utf8)
            let result = try await ContractFiles.validate("--api", file.path)
            #expect(result.status == 1 && result.output.contains(fault), "\(result.output)")
        }
    }

    @Test(
        arguments: [
            (#""seq": {"#, #""sequence": {"#, "the member seq is gone"),
            (#"      "type": "boolean""#, #"      "type": "string""#, "type was boolean"),
            (#"    "event_id"\#n  ]"#, #"    "event_id2"\#n  ]"#, "required no longer has"),
            (#""complained""#, #""complained2""#, "x-known-values no longer has"),
        ])
    func `a change that breaks readers of the last release is reported`(old: String, new: String, fault: String)
        async throws
    {
        try await ContractFiles.withTemporaryFolder { folder in
            let schemas = folder.appending(path: "schemas")
            try FileManager.default.copyItem(at: ContractFiles.folder.appending(path: "schemas"), to: schemas)
            let file = schemas.appending(path: "delivery-status.schema.json")
            let text = try String(contentsOf: file, encoding: .utf8)
            try #require(text.contains(old))
            try text.replacing(old, with: new).write(to: file, atomically: true, encoding: .utf8)
            let result = try await ContractFiles.validate("--schemas", schemas.path)
            #expect(result.status == 1 && result.output.contains(fault), "\(result.output)")
        }
    }

    /// The topics themselves, and what the numbers in their values mean.
    @Test(
        arguments: [
            ("facts.json", #""opened": 34"#, #""opened": 35"#, "opened was 34 and is 35"),
            ("facts.json", #""opened": "Read""#, #""opened": "Seen""#, "opened was Read in crisisworks and is Seen"),
            ("facts.json", #""excluded": 98240"#, #""excluded": 98176"#, "the mask excluded is another"),
            ("asyncapi.yaml", "address: rollcall.blacklist.v1", "address: rollcall.blacklist.v2", "the topic is gone"),
            ("asyncapi.yaml", "partitions: 4", "partitions: 8", "had 4 partitions and has 8"),
            ("asyncapi.yaml", "retention.ms: 5875200000", "retention.ms: 5184000000", "was kept by"),
            ("asyncapi.yaml", "/[1-9][0-9]*$", "/[0-9]+$", "the key of rollcall.delivery.status.v1 was"),
        ])
    func `a change of a topic, a bit, a mask or a word breaks readers of the last release and is reported`(
        name: String, old: String, new: String, fault: String
    ) async throws {
        try await ContractFiles.withTemporaryFolder { folder in
            let text = try String(contentsOf: ContractFiles.folder.appending(path: name), encoding: .utf8)
            try #require(text.contains(old))
            let file = folder.appending(path: name)
            try text.replacing(old, with: new).write(to: file, atomically: true, encoding: .utf8)
            let option = name == "facts.json" ? "--facts" : "--api"
            let result = try await ContractFiles.validate(option, file.path)
            #expect(result.status == 1 && result.output.contains(fault), "\(result.output)")
        }
    }

    /// What the guide says that may change: a member and a fact come, and a member is announced to go.
    @Test func `additions and deprecations keep readers of the last release`() async throws {
        try await ContractFiles.withTemporaryFolder { folder in
            let schemas = folder.appending(path: "schemas")
            try FileManager.default.copyItem(at: ContractFiles.folder.appending(path: "schemas"), to: schemas)
            let file = schemas.appending(path: "delivery-status.schema.json")
            let text = try String(contentsOf: file, encoding: .utf8)
            let changed = text.replacing(
                #""seq": {"#, with: #""added": { "type": "string" }, "seq": { "deprecated": true,"#)
            try #require(changed != text)
            try changed.write(to: file, atomically: true, encoding: .utf8)
            let facts = folder.appending(path: "facts.json")
            let numbers = try String(contentsOf: ContractFiles.folder.appending(path: "facts.json"), encoding: .utf8)
            let canonical = DeliveryFacts.canonicalMask.bits
            let grown = numbers.replacing(#""opened": 34"#, with: #""seen": 32, "opened": 34"#)
                .replacing(#""canonical": \#(canonical)"#, with: #""canonical": \#(canonical | 1 << 32)"#)
            try #require(grown.contains(#""seen": 32"#) && !grown.contains(#""canonical": \#(canonical)"#))
            try grown.write(to: facts, atomically: true, encoding: .utf8)
            let result = try await ContractFiles.validate("--schemas", schemas.path, "--facts", facts.path)
            #expect(result.status == 0, "\(result.output)")
        }
    }

    // MARK: The guide

    /// What is printed beside the text, and the whole that the link leads to, are the file that the tests run.
    @Test func `the guide shows and links the consumer that the tests run`() throws {
        let path = "Tests/ContractsTests/consumer.py"
        let consumer = try String(contentsOf: ProjectFolder.root.appending(path: path), encoding: .utf8)
        let shown = try #require(try ContractFiles.guideBlocks("python").last)
        #expect(shown.contains("INSERT INTO delivery") && consumer.contains("\n\(shown)\n"))
        #expect(try ContractFiles.guide().contains("[\(path)](../../\(path))"))
    }

    @Test func `the guide shows a record that is one of the examples`() throws {
        let shown = try #require(try ContractFiles.guideBlocks("json").first)
        let value = try JSONSerialization.jsonObject(with: Data(shown.utf8)) as? NSDictionary
        #expect(value == (try Self.captured.value))
    }

    /// A broker's answer that will not pass by itself would leave a consumer running and empty.
    @Test func `the Python consumer ends on what does not pass by itself, and waits for what does`() async throws {
        let program = """
            import os, signal, sys
            import confluent_kafka
            from confluent_kafka import KafkaError

            class Message:
                def __init__(self, code): self.code = code
                def error(self): return KafkaError(self.code)

            class Consumer:
                def __init__(self, settings): pass
                def subscribe(self, topics, on_assign): pass
                def close(self): pass
                def consume(self, count, timeout):
                    os.kill(os.getpid(), signal.SIGTERM)
                    return [Message(getattr(KafkaError, name))]

            confluent_kafka.Consumer = Consumer
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            name, source = sys.argv[1], open(sys.argv[2]).read()
            sys.argv[1:] = ["follow", ":memory:", "group", "nowhere"]
            exec(compile(source, "consumer.py", "exec"))
            """
        let consumer = ProjectFolder.root.appending(path: "Tests/ContractsTests/consumer.py").path
        for (name, ends) in [
            ("TOPIC_AUTHORIZATION_FAILED", true), ("GROUP_AUTHORIZATION_FAILED", true),
            ("UNKNOWN_TOPIC_OR_PART", true), ("_FATAL", true), ("_TRANSPORT", false), ("_PARTITION_EOF", false),
            ("_MAX_POLL_EXCEEDED", false),
        ] {
            let result = try await TestKit.Command.run(ProjectFolder.python, ["-c", program, name, consumer])
            #expect((result.status != 0) == ends, "\(name): \(result.output)")
            if ends { #expect(result.output.contains("KafkaException"), "\(name): \(result.output)") }
        }
    }

    private func output(_ program: URL, _ block: String) async throws -> String {
        var output = ""
        try await ContractFiles.withTemporaryFolder { folder in
            let file = folder.appending(path: "example")
            try block.write(to: file, atomically: true, encoding: .utf8)
            let result = try await TestKit.Command.run(
                URL(filePath: "/bin/sh"),
                ["-c", #"cd -- "$1" && exec "$2" "$3""#, "sh", ProjectFolder.root.path, program.path, file.path])
            output = result.output
        }
        return output
    }

    /// Every fact upon the first, in every vocabulary: what the guide's examples are asked besides their own question.
    private static let cases = StatusVocabulary.all.flatMap { vocabulary in
        DeliveryFact.allCases.map { (vocabulary, DeliveryFacts.initial.union($0)) }
    }
    /// As Python and JavaScript spell it.
    private static let list =
        "[" + cases.map { "[\"\($0.name)\", \($1.bits)]" }.joined(separator: ", ") + "]"
    private static let words =
        (["Delivered"] + cases.map { $0.word(for: $1) }).joined(separator: "\n") + "\n"

    @Test func `the guide's Python example gives the word, of every fact in every vocabulary`() async throws {
        let block = try #require(try ContractFiles.guideBlocks("python").first)
        let loop = "\nfor name, facts in \(Self.list):\n    print(word(facts, name))\n"
        #expect(try await output(ProjectFolder.python, block + loop) == Self.words)
    }

    @Test func `the guide's JavaScript example gives the word, of every fact in every vocabulary`() async throws {
        let folders = ProcessInfo.processInfo.environment["PATH"]?.split(separator: ":") ?? []
        let found = folders.map { "\($0)/node" }.first { FileManager.default.isExecutableFile(atPath: $0) }
        let node = URL(filePath: try #require(found, "no node on PATH; 'deploy/local/stack install' installs it"))
        let block = try #require(try ContractFiles.guideBlocks("javascript").first)
        let loop = "\nfor (const [name, facts] of \(Self.list)) console.log(word(facts, name));\n"
        #expect(try await output(node, block + loop) == Self.words)
        // As the guide says, it would not do without BigInt.
        let naive = block.replacing("BigInt(facts)", with: "facts").replacing("BigInt(table.mask)", with: "table.mask")
        #expect(try await output(node, naive + loop) != Self.words)
    }

    @Test func `the guide's SQL example gives the fact, of every fact in every vocabulary`() async throws {
        let block = try #require(try ContractFiles.guideBlocks("sql").first)
        let pool = PostgresPool(try await LocalStack.shared().database("guide").owner, size: 1)
        #expect(try await pool.query(block).first?.int32("shown") == 30)
        let example = "(70369886076929::bigint, 1461620408277::bigint)"
        try #require(block.contains(example))
        for (vocabulary, facts) in Self.cases {
            let one = block.replacing(example, with: "(\(facts.bits)::bigint, \(vocabulary.mask.bits)::bigint)")
            let shown = Int32(vocabulary.shownFact(for: facts).rawValue)
            #expect(try await pool.query(one).first?.int32("shown") == shown, "\(vocabulary.name): \(facts.names)")
        }
        await pool.close()
    }
}
