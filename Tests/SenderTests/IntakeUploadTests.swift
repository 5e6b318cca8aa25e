import Foundation
import Postgres
import Signing
import TestKit
import Testing

@testable import sender

@Suite(.timeLimit(.minutes(5))) struct `Intake takes a list in, compressed and in parts` {
    static let list = "email,name,bus\na@x.example,A,1\nb@x.example,B,2\n"

    /// As the system's gzip packs it.
    static func gzip(_ data: Data) async throws -> Data {
        let file = FileManager.default.temporaryDirectory.appending(path: "rollcall-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(atPath: file.path + ".gz") }
        try data.write(to: file)
        let packed = try await Command.run(URL(filePath: "/bin/gzip"), ["-9", file.path])
        try #require(packed.status == 0, "\(packed.output)")
        return try Data(contentsOf: URL(filePath: file.path + ".gz"))
    }

    private static func put(_ rig: IntakeRig, _ blast: String, _ data: Data) async throws -> HTTP.Answer {
        try await rig.request(
            "PUT", "/v1/blasts/\(blast)/recipients", data: data, type: "text/csv",
            headers: ["Content-Encoding": "gzip"])
    }

    @Test func `a gzip list is the list, also in several members`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            let half = Self.list.utf8.count / 2
            let whole = Data(Self.list.utf8)
            let members =
                try await Self.gzip(whole.prefix(half)) + Self.gzip(Data()) + Self.gzip(whole.suffix(from: half))
            for data in [try await Self.gzip(whole), members] {
                let answer = try await Self.put(rig, blast, data)
                #expect(answer.status == 200, "\(answer.text)")
                #expect(try answer.json()["audience"] as? Int == 2)
            }
        }
    }

    @Test func `what is no whole gzip stream, or a bomb, is refused and the earlier list stays`() async throws {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            #expect(try await rig.upload(blast, Self.list).status == 200)
            let before = try await rig.snapshot()
            let packed = try await Self.gzip(
                Data((Self.list + String(repeating: "c@x.example,C,3\n", count: 999)).utf8))
            var damaged = packed
            damaged[packed.count - 6] ^= 0xFF
            for data in [
                Data(Self.list.utf8), packed.prefix(packed.count / 2), packed.dropLast(), damaged,
                packed + Data([1, 2, 3]),
                Data(),
            ] {
                let problem = try await Self.put(rig, blast, data).problem(422, "invalid-gzip")
                #expect((problem["detail"] as? String)?.contains("earlier list") == true)
            }
            let bomb = try await Self.gzip(Data("email\n".utf8) + Data(repeating: 0x0A, count: 40 << 20))
            #expect(bomb.count < 64 * 1024)
            #expect(try await Self.put(rig, blast, bomb).problem(413, "too-large")["ratio"] as? Int == 200)
            let plain = try await rig.request("PUT", "/v1/blasts/\(blast)/recipients", data: packed, type: "text/csv")
            #expect(
                (try plain.problem(422, "invalid-list")["reason"] as? String)?.contains("Content-Encoding: gzip")
                    == true)
            _ = try await rig.request(
                "PUT", "/v1/blasts/\(blast)/recipients", data: packed, type: "text/csv",
                headers: ["Content-Encoding": "br"]
            ).problem(415, "unsupported-media-type")
            #expect(try await rig.snapshot() == before)
        }
    }

    @Test func `an unpacked list has the same limit as a plain one`() async throws {
        var limits = IntakeLimits()
        limits.list.octets = 100_000
        try await IntakeRig.run(limits: limits) { rig in
            let blast = try await rig.blast()
            var list = "email,name,bus\n"
            for number in 0..<8_000 { list += "p\(number)@x.example,P,\(number)\n" }
            let packed = try await Self.gzip(Data(list.utf8))
            #expect(packed.count < 100_000)
            #expect(try await Self.put(rig, blast, packed).problem(413, "too-large")["limit"] as? Int == 100_000)
        }
    }

    @Test func `a list in parts is put together once they are all there, each stored once however often it is sent`()
        async throws
    {
        try await IntakeRig.run { rig in
            let blast = try await rig.blast()
            let base = "/v1/blasts/\(blast)/recipients"
            let packed = try await Self.gzip(Data(Self.list.utf8))
            let parts = [packed.prefix(10), packed.dropFirst(10).prefix(7), packed.dropFirst(17)].map { Data($0) }
            let whole = #"{"parts":3,"type":"text/csv","encoding":"gzip"}"#
            func put(_ number: Int, _ data: Data, _ headers: [String: String] = [:]) async throws -> HTTP.Answer {
                try await rig.request(
                    "PUT", "\(base)/parts/\(number)", data: data, type: "application/octet-stream", headers: headers)
            }
            #expect(try await put(3, parts[2]).status == 200)
            let digest = Data(SHA256Digest.of(Array(parts[0]))).base64EncodedString()
            for _ in 1...2 {
                let answer = try await put(1, parts[0], ["Content-Digest": "sha-256=:\(digest):"])
                #expect(try answer.json()["octets"] as? Int == 10, "\(answer.text)")
            }
            let missing = try await rig.request("PUT", "\(base)/commit", whole).problem(409, "parts-missing")
            #expect(missing["part"] as? Int == 2)
            _ = try await put(1, parts[1]).problem(409, "part-differs")
            _ = try await put(2, parts[1], ["Content-Digest": "sha-256=:\(digest):"]).problem(400, "digest-mismatch")
            _ = try await put(2, parts[1], ["Content-Digest": "md5=:AAAA:"]).problem(400, "bad-digest")
            _ = try await put(0, parts[1]).problem(400, "bad-part")
            _ = try await put(10_001, parts[1]).problem(400, "bad-part")
            #expect(try await put(2, parts[1]).status == 200)
            let listing = try await rig.request("GET", "\(base)/parts").json()
            #expect(listing["octets"] as? Int == packed.count)
            #expect((listing["parts"] as? [[String: Any]])?.compactMap { $0["part"] as? Int } == [1, 2, 3])
            _ = try await rig.request("PUT", "\(base)/commit", #"{"parts":2,"type":"text/csv"}"#)
                .problem(409, "parts-left-over")
            for _ in 1...2 {
                let answer = try await rig.request("PUT", "\(base)/commit", whole)
                #expect(answer.status == 200, "\(answer.text)")
                #expect(try answer.json()["audience"] as? Int == 2)
                #expect(try await rig.count("recipient", blast) == 2)
            }
            _ = try await rig.request("GET", "\(base)/parts", key: rig.foreignKey).problem(404, "no-such-blast")
            #expect(
                try await rig.request("POST", "/v1/blasts/\(blast)/send", headers: ["Idempotency-Key": "k"]).status
                    == 202)
            #expect(try await rig.count("list_part", blast) == 0)
            _ = try await put(4, parts[0]).problem(409, "not-a-draft")
        }
    }

    @Test func `parts are bounded together as the list is, and can be dropped`() async throws {
        var limits = IntakeLimits()
        limits.list.octets = 1_000
        try await IntakeRig.run(limits: limits) { rig in
            let blast = try await rig.blast()
            let base = "/v1/blasts/\(blast)/recipients/parts"
            let data = Data(repeating: 0x61, count: 600)
            #expect(try await rig.request("PUT", "\(base)/1", data: data).status == 200)
            _ = try await rig.request("PUT", "\(base)/2", data: data).problem(413, "too-large")
            #expect(try await rig.count("list_part", blast) == 1)
            #expect(try await rig.request("DELETE", base).status == 204)
            #expect(try await rig.count("list_part", blast) == 0)
        }
    }

    @Test func `a hundred thousand recipients in a gzip list go in with flat memory`() async throws {
        try await LocalStack.with("intake-memory") { stack, processes in
            let (small, large) = try await Self.peaksOfUploads(on: stack, processes)
            print("peak resident memory: \(small >> 10) MiB with 10,000, \(large >> 10) MiB with 100,000 recipients")
            #expect(small > 1 << 10)
            #expect(large - small < 64 << 10, "\(small) KiB, then \(large) KiB")
        }
    }

    /// The highest resident memory in KiB of a sender of its own, after a list and after one ten times as long.
    private static func peaksOfUploads(
        on stack: LocalStack, _ processes: StartedProcesses
    ) async throws -> (small: Int, large: Int) {
        let rig = try await SenderProcessRig.make("memory", on: stack, processes, smtpPort: 1)
        let owner = PostgresConnection(rig.dispatch.database.owner, name: "owner")
        try await owner.connect()
        let headers = ["Authorization": "Bearer \(try await IntakeRig.key(7, ["send"], owner))"]
        await owner.close()
        let port = try FreePort.take()
        let sender = try rig.start(port: port)
        let blasts = "http://127.0.0.1:\(port)/v1/blasts"
        let made = try await eventually("the sender takes a draft", within: .seconds(60)) {
            try? await HTTP.request(
                "POST", blasts, headers: headers.merging(["Content-Type": "application/json"]) { $1 },
                body: Data(IntakeRig.draft.utf8))
        } until: {
            $0?.status == 201
        }
        let blast = try #require(try made?.json()["blast_id"] as? String)
        var peaks: [Int] = []
        for count in [10_000, 100_000] {
            var text: [UInt8] = Array("email,name,bus\n".utf8)
            for number in 1...count {
                text += Array("parent\(number)@school.example,Parent \(number),\(number % 40)\n".utf8)
            }
            let answer = try await HTTP.request(
                "PUT", "\(blasts)/\(blast)/recipients",
                headers: headers.merging(["Content-Type": "text/csv", "Content-Encoding": "gzip"]) { $1 },
                body: try await gzip(Data(text)))
            #expect(try answer.json()["audience"] as? Int == count, "\(answer.text)")
            peaks.append(try peakKilobytes(of: sender))
        }
        await rig.dispatch.close()
        return (peaks[0], peaks[1])
    }

    private static func peakKilobytes(of process: ServiceProcess) throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(process.pid)/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
        return try #require(Int(line.filter(\.isNumber)))
    }
}
