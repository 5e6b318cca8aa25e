import Delivery
import Synchronization
import TestKit
import Testing

@testable import event_ingester

struct `A posted form` {
    private func form(_ body: String, _ type: String) -> [String]? {
        FormBody(Array(body.utf8), contentType: type)?.fields.map { "\($0.name)=\($0.value)" }
    }

    @Test func `is read in both encodings`() {
        let urlEncoded = "application/x-www-form-urlencoded"
        #expect(form("List-Unsubscribe=One-Click", urlEncoded) == ["List-Unsubscribe=One-Click"])
        #expect(form("a=1&&b=x+y%3D%26%zz%+1&c", "\(urlEncoded); charset=UTF-8") == ["a=1", "b=x y=&%zz% 1", "c="])
        #expect(
            form(
                "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n",
                "multipart/form-data; boundary=x") == ["List-Unsubscribe=One-Click"])
        #expect(
            form(
                "preamble\r\n--a b\r\nX: y\r\ncontent-disposition: form-data; filename=\"name=q\"; name=f\r\n\r\n1\r\n2\r\n"
                    + "--a b\r\n\r\nno header\r\n--a b--", "Multipart/Form-Data; Boundary=\"a b\"") == ["f=1\r\n2"])
    }

    @Test func `in another encoding is none`() {
        #expect(form("List-Unsubscribe=One-Click", "") == nil)
        #expect(form("List-Unsubscribe=One-Click", "text/plain") == nil)
        #expect(form("x", "multipart/form-data") == nil)
        #expect(form("x", "multipart/form-data; boundary=") == nil)
        #expect(form("x", "multipart/form-data; boundary=x") == [])
    }
}

struct `A destination` {
    @Test(
        arguments: [
            "https://school.example/menu?week=3#tuesday", "HTTP://school.example", "http://[::1]:8080/",
        ])
    func `may be any web address`(_ url: String) {
        #expect(Destination.isUsable(url))
    }

    @Test(
        arguments: [
            "", "javascript:alert(1)", "//evil.example", "https:evil.example", "https://", "https:///x", "http://a\\b",
            "https://a.example/\r\nSet-Cookie: x", "https://a.example/\u{0}", "https://ä.example", "ftp://a.example",
            " https://a.example", "https://a.example/" + String(repeating: "x", count: 2000),
        ])
    func `cannot be anything else`(_ url: String) {
        #expect(!Destination.isUsable(url))
    }

    @Test func `is evidence without anything that may name a person`() {
        #expect(Destination.evidence("https://School.example/menu?child=4711#x") == "School.example/menu")
        #expect(Destination.evidence("https://u:p@school.example/menu") == "school.example/menu")
        #expect(Destination.evidence("https://school.example/u/a@b.example") == "school.example")
        #expect(Destination.evidence("https://school.example/u/a%40b.example") == "school.example")
        #expect(PlainText.withoutAddresses("Bot/1 (+bot@example.com) x") == "Bot/1 x")
    }
}

struct `The link cache` {
    private struct Down: Error {}

    private static func blast(_ number: UInt64) -> BlastID { BlastID(high: 1, low: number) }

    @Test func `asks the database once and answers without it afterwards`() async throws {
        let asked = Mutex(0)
        let cache = LinkCache(patience: .seconds(60)) { _ in
            let turn = asked.withLock { asked in
                asked += 1
                return asked
            }
            guard turn == 1 else { throw Down() }
            return BlastLinks(destinations: [1: "https://a.example"])
        }
        let answers = await withTaskGroup(of: LinkCache.Answer.self) { group in
            for _ in 0..<50 { group.addTask { await cache.destination(of: Self.blast(1), link: 1) } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.allSatisfy { $0 == .destination("https://a.example") })
        #expect(await cache.destination(of: Self.blast(1), link: 2) == .unknown)
        #expect(asked.withLock { $0 } == 1)
        #expect(await cache.destination(of: Self.blast(2), link: 1) == .notNow)
    }

    @Test func `does not wait long, and uses what comes late`() async throws {
        let gate = AsyncStream<Void>.makeStream()
        let cache = LinkCache(patience: .milliseconds(20)) { _ in
            for await _ in gate.stream { break }
            return BlastLinks(destinations: [1: "https://a.example"])
        }
        #expect(await cache.destination(of: Self.blast(1), link: 1) == .notNow)
        gate.continuation.yield()
        _ = try await eventually("the late answer is known") {
            await cache.destination(of: Self.blast(1), link: 1)
        } until: {
            $0 == .destination("https://a.example")
        }
    }

    @Test func `knows nothing of an expired document`() async {
        let cache = LinkCache(patience: .seconds(60)) { _ in
            BlastLinks(destinations: [1: "https://a.example"], expiresAtMicroseconds: 1)
        }
        #expect(await cache.destination(of: Self.blast(1), link: 1) == .unknown)
    }

    @Test func `forgets the oldest when it is full`() async {
        let asked = Mutex<[BlastID]>([])
        let cache = LinkCache(blastsMax: 2, patience: .seconds(60)) { blast in
            asked.withLock { $0.append(blast) }
            return BlastLinks(destinations: [1: "https://a.example"])
        }
        for number: UInt64 in [1, 2, 3, 3, 2, 1] { _ = await cache.destination(of: Self.blast(number), link: 1) }
        #expect(asked.withLock { $0 } == [1, 2, 3, 1].map(Self.blast))
    }
}
