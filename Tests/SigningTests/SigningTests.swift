import Delivery
import Foundation
import Signing
import Testing

@Suite struct `Link tokens` {
    static let secret = String(repeating: "ab", count: 32)
    static let token = LinkToken(
        purpose: .click, district: DistrictID(7),
        delivery: DeliveryID(blast: BlastID(high: 1, low: 2), recipientNumber: 3), link: 4)

    @Test func `a token says what was signed`() throws {
        let keys = try TokenKeys(["1:\(Self.secret)"])
        let text = keys.sign(Self.token)
        #expect(keys.verify(text) == Self.token)
        #expect(text.utf8.count <= 72)
    }

    /// The right sides are from Python's hmac.
    @Test(arguments: [
        (32, "CQMAAAAAAAAABwAAAAAAAAABAAAAAAAAAAIAAAADAATJDZ0_fVhLOSTRdpa67u-0"),
        (64, "CQMAAAAAAAAABwAAAAAAAAABAAAAAAAAAAIAAAADAAQZbEksVStB622B3fp90uqr"),
        (65, "CQMAAAAAAAAABwAAAAAAAAABAAAAAAAAAAIAAAADAATyTOfO1-WZ7WLdKkhnav-7"),
        (100, "CQMAAAAAAAAABwAAAAAAAAABAAAAAAAAAAIAAAADAAQY-1X_POj8n6e58Fa10qtW"),
    ]) func `a token is what HMAC-SHA-256 says, whatever the length of the secret`(octets: Int, text: String) throws {
        let secret = Hexadecimal.string((0..<octets).map { UInt8($0) })
        #expect(try TokenKeys(["9:\(secret)"]).sign(Self.token) == text)
    }

    @Test func `no single changed bit survives`() throws {
        let keys = try TokenKeys(["1:\(Self.secret)"])
        let bytes = try #require(Base64URL.decode(keys.sign(Self.token)))
        for index in bytes.indices {
            for bit in 0..<8 {
                var bent = bytes
                bent[index] ^= 1 << UInt8(bit)
                #expect(keys.verify(Base64URL.encode(bent)) == nil)
            }
        }
        #expect(keys.verify(Base64URL.encode(Array(bytes.dropLast()))) == nil)
        #expect(keys.verify(Base64URL.encode(bytes + [0])) == nil)
        #expect(keys.verify(keys.sign(Self.token) + "=") == nil)
    }

    @Test func `another secret proves nothing, and an old key verifies until it is removed`() throws {
        let old = try TokenKeys(["1:\(Self.secret)"])
        let other = String(repeating: "cd", count: 32)
        let both = try TokenKeys(["1:\(Self.secret)", "2:\(other)"])
        let text = old.sign(Self.token)
        #expect(both.verify(text) == Self.token)
        #expect(both.sign(Self.token) != text)
        #expect(try TokenKeys(["1:\(other)"]).verify(text) == nil)
        #expect(try TokenKeys(["2:\(other)"]).verify(text) == nil)
    }

    @Test(arguments: [[], ["1"], ["1:abcd"], ["300:" + String(repeating: "ab", count: 32)], ["x:zz"]] as [[String]])
    func `weak or malformed keys are refused`(items: [String]) {
        #expect(throws: SigningError.self) { try TokenKeys(items) }
    }
}

@Suite struct `Standard Webhooks` {
    /// The example of the specification's own reference libraries.
    @Test func `signs as the specification's example does`() throws {
        let webhook = try StandardWebhook(secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
        let signature = webhook.sign(
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestampSeconds: 1_614_265_330,
            body: Array(#"{"test": 2432232314}"#.utf8))
        #expect(signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    }

    @Test func `accepts only the signed id, time and body, fresh, from a holder of a secret`() throws {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        let webhook = try StandardWebhook(secrets: [secret])
        let body = Array("body".utf8)
        let good = webhook.sign(id: "m", timestampSeconds: 1000, body: body)
        func verify(
            _ id: String = "m", _ time: String = "1000", _ signatures: String? = nil, _ bytes: [UInt8]? = nil,
            now: Int64 = 1000
        ) -> Bool {
            webhook.verify(
                id: id, timestamp: time, signatures: signatures ?? good, body: bytes ?? body, nowSeconds: now)
        }
        #expect(verify())
        #expect(verify(now: 1300))
        #expect(verify("m", "1000", "v1,AAAA v1a,zzz \(good)"))
        #expect(!verify(now: 1301))
        #expect(!verify(now: 699))
        #expect(!verify("n"))
        #expect(!verify("m", "1001"))
        #expect(!verify("m", " 1000"))
        #expect(!verify("m", "+1000"))
        #expect(!verify("m", "1000", nil, Array("bodx".utf8)))
        #expect(!verify("m", "1000", ""))
        #expect(!verify("m", "1000", "v1,"))
        #expect(!verify("m", "1000", "v2," + good.dropFirst(3)))
        #expect(!verify("", "1000", webhook.sign(id: "", timestampSeconds: 1000, body: body)))
        #expect(!verify("m", "9223372036854775807"))
        let other = try StandardWebhook(secrets: ["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
        #expect(!other.verify(id: "m", timestamp: "1000", signatures: good, body: body, nowSeconds: 1000))
        let rotating = try StandardWebhook(secrets: ["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", secret])
        #expect(rotating.verify(id: "m", timestamp: "1000", signatures: good, body: body, nowSeconds: 1000))
    }
}

@Suite struct `API keys and hashes` {
    @Test func `a generated key matches its own digest and no other`() throws {
        let first = try #require(APIKey.generate())
        let second = try #require(APIKey.generate())
        let presented = try #require(APIKey(first.text))
        #expect(presented.matches(secretSHA256: first.key.secretSHA256))
        #expect(!presented.matches(secretSHA256: second.key.secretSHA256))
        #expect(!presented.matches(secretSHA256: []))
        #expect(APIKey("rck_x_y") == nil)
        #expect(APIKey(first.text + "0") == nil)
    }

    @Test func `the same address hashes differently for another district`() {
        let a = AddressHasher(districtKey: Array(repeating: 1, count: 32))
        let b = AddressHasher(districtKey: Array(repeating: 2, count: 32))
        #expect(a.hash(matchingKey: "x@y.example") == a.hash(matchingKey: "x@y.example"))
        #expect(a.hash(matchingKey: "x@y.example") != b.hash(matchingKey: "x@y.example"))
    }

    @Test func `moving text between subject and body changes the content hash`() {
        #expect(
            ContentHash.of(subject: "ab", text: "c", html: nil) != ContentHash.of(subject: "a", text: "bc", html: nil))
    }
}

@Suite struct `Encodings of octets` {
    @Test func `Base64URL is Foundation's base64 in the other alphabet, behind what is there already`() {
        for count in 0...66 {
            let octets = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 151 &+ 7) }
            let standard = Data(octets).base64EncodedString()
            let expected = standard.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
            #expect(Base64URL.encode(octets) == expected)
            #expect(Base64URL.decode(expected) == octets)
            var text = Array("before".utf8)
            Base64URL.append(octets, to: &text)
            #expect(text == Array("before".utf8) + Array(expected.utf8))
        }
    }
}
