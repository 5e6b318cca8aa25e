import Contracts
import Delivery
import Signing
import Testing

@testable import event_ingester

struct `A webhook batch` {
    private func events(_ text: String) throws -> [String] {
        try WebhookBatch.events(in: Array(text.utf8)).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func `is cut into its events, whatever these contain`() throws {
        #expect(try events(#"{"events":[]}"#) == [])
        #expect(
            try events(#" { "v" : [1,{"a":"]"}] , "events" : [ {"a":"},{\"" } ,2,"x,y",[{}]] , "w":null } "#).map {
                String($0.reversed().drop { $0 == " " }.reversed())
            } == [#"{"a":"},{\"" }"#, "2", #""x,y""#, "[{}]"])
    }

    @Test(
        arguments: [
            "", "[]", "null", "{}", #"{"events":{}}"#, #"{"events":[}"#, #"{"events":[{}"#, #"{"events":[{}]"#,
            #"{"events":[{},]}"#, #"{"events":[,{}]}"#, #"{"events":[]} x"#, #"{"events":["a]}"#, #"{events:[]}"#,
            #"{"events":[],"events":[]}"#, #"{"events":[],}"#, "\u{FEFF}{\"events\":[]}", #"{"events" []}"#,
            #"{"events":["\"#,
        ])
    func `that is no document is refused with a reason`(_ text: String) {
        let error = #expect(throws: ContractError.self) { try events(text) }
        #expect(error?.reason.isEmpty == false)
    }
}

struct `An event of a webhook` {
    static let keys = ["1:" + String(repeating: "ab", count: 32)]
    static let now: Int64 = 1_790_000_000_000_000
    private let tokens: TokenKeys
    private let token: String
    private let delivery = DeliveryID(blast: BlastID(high: 7, low: 9), recipientNumber: 3)

    init() throws {
        tokens = try TokenKeys(Self.keys)
        token = tokens.sign(LinkToken(purpose: .delivery, district: DistrictID(5), delivery: delivery))
    }

    private func read(_ members: String) throws(ContractError) -> DeliveryEvent {
        let text = #"{"delivery":"\#(token)","occurred_at":"2026-03-01T09:30:00Z",\#(members)}"#
        return try WebhookEvent(Array(text.utf8), tokens: tokens, nowMicroseconds: Self.now).event
    }

    @Test(
        arguments: [
            (#""type":"sent""#, DeliveryFact.sent), (#""type":"delivered""#, .delivered),
            (#""type":"delayed""#, .delayed),
            (#""type":"complained""#, .complained), (#""type":"opted_out""#, .optedOut),
            (#""type":"autoresponded""#, .autoresponded), (#""type":"bounced""#, .bounced),
            (#""type":"bounced","enhanced_code":"5.1.1""#, .bouncedInvalid),
            (#""type":"bounced","enhanced_code":"5.1.10""#, .bouncedInvalid),
            (#""type":"bounced","enhanced_code":"5.2.1""#, .bouncedInvalid),
            (#""type":"bounced","enhanced_code":"5.2.2""#, .bounced),
            (#""type":"bounced","enhanced_code":"5.1.8""#, .bounced),
            (#""type":"bounced","enhanced_code":"4.1.1""#, .bounced),
            (#""type":"bounced","enhanced_code":"5.1""#, .bounced),
            (#""type":"bounced","enhanced_code":"5.1.x""#, .bounced),
        ])
    func `I-07: has the fact its type and codes name`(_ members: String, _ fact: DeliveryFact) throws {
        let event = try read(#""id":"e1",\#(members)"#)
        #expect(event.fact == fact)
        #expect(event.delivery == delivery)
        #expect(event.district == DistrictID(5))
        #expect(event.id == "webhook/e1")
        #expect(event.occurredAtMicroseconds == 1_772_357_400_000_000)
    }

    @Test func `carries what the provider said as one bounded line`() throws {
        let said = #""id":"e","type":"bounced","smtp_code":550,"enhanced_code":"5.1.1","detail":"#
        #expect(try read(said + #""no such\r\nuser\u202e""#).evidence == "550 5.1.1 no such  user ")
        #expect(try read(said + #""550 5.1.1 no such user""#).evidence == "550 5.1.1 no such user")
        #expect(try read(said + #""\#(String(repeating: "ä", count: 5000))""#).evidence.utf8.count <= 512)
        #expect(try read(#""id":"e","type":"sent""#).evidence == "")
    }

    @Test(
        arguments: [
            #""id":"","type":"sent""#, #""id":"a b","type":"sent""#, #""id":"ä","type":"sent""#, #""type":"sent""#,
            #""id":"\#(String(repeating: "x", count: 151))","type":"sent""#, #""id":"e","type":"opened""#, #""id":"e""#,
            #""id":"e","type":"sent","smtp_code":"550""#, #""id":"e","type":"sent","smtp_code":1e400"#,
            #""id":"e","type":"sent","type":"bounced""#, #""id":"e","type":"sent","detail":"\u0000""#,
            #""id":"e","type":"sent","detail":"\ud800""#, #""id":"e","type":"sent","delivery":"x""#,
        ])
    func `that breaks the contract is refused by itself`(_ members: String) {
        #expect(throws: ContractError.self) { try read(members) }
    }

    @Test(
        arguments: [
            ("2019-12-31T23:59:59Z", false), ("2020-01-01T00:00:00Z", true), ("2026-09-22T14:13:19Z", true),
            ("2026-09-22T14:13:21Z", false), ("yesterday", false), ("1767225600", false),
        ])
    func `has to have happened between 2020 and tomorrow`(_ time: String, _ isGood: Bool) {
        let text = #"{"id":"e","type":"sent","delivery":"\#(token)","occurred_at":"\#(time)"}"#
        let event = try? WebhookEvent(Array(text.utf8), tokens: tokens, nowMicroseconds: Self.now)
        #expect((event != nil) == isGood)
    }

    @Test func `needs a delivery token of ours`() throws {
        let others = [
            tokens.sign(LinkToken(purpose: .open, district: DistrictID(5), delivery: delivery)),
            try TokenKeys(["1:" + String(repeating: "cd", count: 32)]).sign(
                LinkToken(purpose: .delivery, district: DistrictID(5), delivery: delivery)),
            String(token.dropLast()), token + "A", "",
        ]
        for other in others {
            let text = #"{"id":"e","type":"sent","delivery":"\#(other)","occurred_at":"2026-03-01T09:30:00Z"}"#
            #expect(throws: ContractError.self) {
                try WebhookEvent(Array(text.utf8), tokens: tokens, nowMicroseconds: Self.now)
            }
        }
    }
}
