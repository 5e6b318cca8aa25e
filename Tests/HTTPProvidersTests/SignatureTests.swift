import Foundation
import Signing
import TestKit
import Testing

@Suite("Signatures of providers") struct SignatureTests {
    private static let example = AWSCredentials(
        accessKey: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")

    @Test(arguments: [
        ("GET", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("GET", "Param1=value1&Param2=value2", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ])
    func `Amazon's own examples of version 4 come out as published`(
        _ method: String, _ query: String, _ signature: String
    ) throws {
        let signer = AWSSignature(
            credentials: try #require(Self.example), region: "us-east-1", service: "service")
        let headers = signer.signed(
            method, path: "/", query: query, headers: [("Host", "example.amazonaws.com")], body: [],
            unixSeconds: 1_440_938_160)
        #expect(headers.first { $0.name == "X-Amz-Date" }?.value == "20150830T123600Z")
        #expect(
            headers.last?.value
                == "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                + "SignedHeaders=host;x-amz-date, Signature=\(signature)")
    }

    private struct AmazonCase: Encodable {
        var key = "AKIDEXAMPLE"
        var secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
        let token: String?
        let region: String
        var service = "ses"
        let time: Int64
        let url: String
        let headers: [[String]]
        let body: String
    }

    @Test func `botocore signs requests to SES in the same way, on any day, with a session token and without`()
        async throws
    {
        var random = SeededGenerator(seed: 7)
        var cases: [AmazonCase] = []
        for _ in 0..<60 {
            cases.append(
                AmazonCase(
                    token: Bool.random(using: &random) ? "session/token==" : nil,
                    region: ["us-east-1", "eu-central-1"].randomElement(using: &random) ?? "",
                    time: Int64.random(in: 0...4_102_444_800, using: &random),
                    url: "https://email.example/v2/email/outbound-emails",
                    headers: [["Host", "email.example"], ["Content-Type", "application/json"]],
                    body: "{\"n\":\(Int.random(in: 0...1_000_000, using: &random)),\"é\":\"\u{1F600}\"}"))
        }
        let expected = try await Self.oracle(cases)
        for (item, expected) in zip(cases, expected) {
            let credentials = try #require(
                AWSCredentials(accessKey: item.key, secret: item.secret, sessionToken: item.token))
            let headers = AWSSignature(credentials: credentials, region: item.region, service: "ses").signed(
                "POST", path: "/v2/email/outbound-emails", headers: item.headers.map { ($0[0], $0[1]) },
                body: Array(item.body.utf8), unixSeconds: item.time)
            #expect(headers.last?.value == expected, "\(item.time)")
        }
        #expect(expected.count == 60)
    }

    private struct TwilioCase: Encodable {
        let token: String
        let url: String
        let parameters: [[String]]
    }

    @Test func `Twilio's own library signs the same addresses and forms with the same signature`() async throws {
        var random = SeededGenerator(seed: 11)
        let names = ["MessageSid", "MessageStatus", "To", "From", "ErrorCode", "a", "A", "é", "Body"]
        let values = ["", "delivered", "+15550100123", "x y&z=1", "\u{1F600}", "É", "e\u{301}", "0"]
        let urls = [
            "https://events.school.example/webhooks/sms", "https://events.school.example:8443/sms?d=1&x=%20",
            "http://127.0.0.1:8081/webhooks/sms?token=a%2Bb", "https://events.school.example/",
        ]
        var cases: [TwilioCase] = []
        for index in 0..<200 {
            let parameters = (0..<Int.random(in: 0...8, using: &random)).map { _ in
                [names.randomElement(using: &random) ?? "", values.randomElement(using: &random) ?? ""]
            }
            cases.append(TwilioCase(token: "token\(index)", url: urls[index % urls.count], parameters: parameters))
        }
        let expected = try await Self.oracle(cases)
        #expect(expected.count == 200)
        for (item, expected) in zip(cases, expected) {
            let signer = TwilioSignature(authToken: item.token)
            let parameters = item.parameters.map { (name: $0[0], value: $0[1]) }
            #expect(signer.sign(url: item.url, parameters: parameters) == expected, "\(item)")
            #expect(signer.verify(expected, url: item.url, parameters: parameters))
            #expect(!signer.verify(expected, url: item.url + "1", parameters: parameters))
            #expect(!signer.verify(expected, url: item.url, parameters: parameters + [("z", "1")]))
            #expect(!TwilioSignature(authToken: "other").verify(expected, url: item.url, parameters: parameters))
        }
    }

    @Test func `a callback is Twilio's whether it was signed with the port or without`() {
        let signer = TwilioSignature(authToken: "t")
        let form = [(name: "a", value: "1")]
        let plain = "https://events.school.example/sms?x=1"
        let withPort = "https://events.school.example:443/sms?x=1"
        #expect(signer.verify(signer.sign(url: withPort, parameters: form), url: plain, parameters: form))
        #expect(signer.verify(signer.sign(url: plain, parameters: form), url: withPort, parameters: form))
        #expect(
            !signer.verify(
                signer.sign(url: plain, parameters: form), url: "http://events.school.example/sms?x=1", parameters: form
            ))
        #expect(!signer.verify("", url: plain, parameters: form))
    }

    private static func oracle(_ cases: [some Encodable]) async throws -> [String] {
        let file = FileManager.default.temporaryDirectory.appending(path: "rollcall-cases-\(UUID().uuidString).json")
        try JSONEncoder().encode(cases).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let script = ProjectFolder.root.appending(path: "Tests/HTTPProvidersTests/oracle.py")
        let result = try await Command.run(ProjectFolder.python, [script.path, file.path])
        guard result.status == 0 else { throw TestKitError(result.output) }
        return try JSONDecoder().decode([String].self, from: Data(result.output.utf8))
    }
}
