import Delivery
import Testing

@testable import event_ingester

struct `The judge of opens and clicks` {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let links: Int
        let hits: [HitJudge.Observation]
        let facts: [DeliveryFact]

        init(_ description: String, links: Int = 3, _ hits: [HitJudge.Observation], _ facts: [DeliveryFact]) {
            testDescription = description
            self.links = links
            self.hits = hits
            self.facts = facts
        }
    }

    static let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    static let gmailProxy = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"

    static func open(_ milliseconds: Int64, _ agent: String? = firefox, _ method: String = "GET")
        -> HitJudge.Observation
    {
        .init(kind: .open, link: nil, atMicroseconds: milliseconds * 1000, method: method, userAgent: agent)
    }

    static func click(_ link: Int16, _ milliseconds: Int64, _ agent: String? = firefox, _ method: String = "GET")
        -> HitJudge.Observation
    {
        .init(kind: .click, link: link, atMicroseconds: milliseconds * 1000, method: method, userAgent: agent)
    }

    static let cases = [
        Case("nothing", [], []),
        Case("one open", [open(0)], [.opened]),
        Case("one open without user agent", [open(0, nil)], [.opened]),
        Case("an open through the proxy of a reader's mail program", [open(0, gmailProxy)], [.opened]),
        Case("an open and one link a moment later", [open(0), click(2, 3000)], [.opened, .clicked]),
        Case("an open and one of several links at once", [open(0), click(2, 200)], [.opened, .clicked]),
        Case("a click without pictures", [click(1, 0)], [.clicked]),
        Case("the same link twice at once", [click(1, 0), click(1, 100)], [.clicked, .clicked]),
        Case("two links, one after the other", [click(1, 0), click(2, 1001)], [.clicked, .clicked]),
        Case("two links within a second", [click(1, 0), click(2, 1000)], [.machineClick, .machineClick]),
        Case(
            "two links within a second, given in another order", [click(2, 1000), open(4000), click(1, 0)],
            [.machineClick, .machineOpen, .machineClick]),
        Case(
            "the picture and the only link within a second", links: 1, [open(0), click(1, 900)],
            [.machineOpen, .machineClick]),
        Case("the only link and then the picture", links: 1, [click(1, 0), open(400)], [.machineClick, .machineOpen]),
        Case("the picture, and the only link later", links: 1, [open(0), click(1, 1500)], [.opened, .clicked]),
        Case("a HEAD", [click(1, 0, firefox, "HEAD")], [.machineClick]),
        Case("a HEAD spoils its burst", [click(1, 0, firefox, "HEAD"), open(4999)], [.machineClick, .machineOpen]),
        Case("a person after a HEAD's burst", [click(1, 0, firefox, "HEAD"), open(5000)], [.machineClick, .opened]),
        Case("a scanner by name", [open(0, "Mozilla/5.0 (compatible; LinkScanner/1.0)")], [.machineOpen]),
        Case("Apple's prefetch", [open(0, "Mozilla/5.0")], [.machineOpen]),
        Case(
            "a scanner's burst, and a person an hour later",
            [
                open(0, firefox), click(1, 10, firefox), click(2, 20, firefox), click(3, 30, firefox),
                open(3_600_000), click(2, 3_606_000),
            ],
            [.machineOpen, .machineClick, .machineClick, .machineClick, .opened, .clicked]),
    ]

    @Test(arguments: cases) func `K-13: people and machines are told apart`(_ example: Case) {
        let facts = HitJudge.facts(of: example.hits, linkCount: example.links, quietWindow: .seconds(5))
        #expect(facts == example.facts)
    }

    @Test func `what is machine-made never shows as a status`() {
        let scanner = [Self.open(0), Self.click(1, 1), Self.click(2, 2)]
        let facts = DeliveryFacts(HitJudge.facts(of: scanner, linkCount: 2, quietWindow: .seconds(5)))
        #expect(DeliveryFacts(.pending, .sent).union(facts).canonicalStatus == .sent)
    }
}
