import Delivery
import Mail
import SMTP
import Signing
import Testing

@testable import sender

@Suite("Message")
struct DispatchMessageTests {
    private let delivery = DeliveryID(
        blast: BlastID(high: 0x0197_0000_0000_7000, low: 0x8000_0000_0000_0001), recipientNumber: 42)

    @Test func `merge values are escaped in HTML and nowhere else`() throws {
        let template = try MessageTemplate(subject: "Hi {{name}}", html: "<p>{{name}}</p>", text: "Hi {{name}}")
        let rendered = template.render(["name": "<b>O'Neil & \"co\"</b>"])
        #expect(rendered.html == "<p>&lt;b&gt;O&#39;Neil &amp; &quot;co&quot;&lt;/b&gt;</p>")
        #expect(rendered.text == "Hi <b>O'Neil & \"co\"</b>")
        #expect(rendered.subject == "Hi <b>O'Neil & \"co\"</b>")
    }

    @Test func `a mark with a combining character behind it is escaped too`() throws {
        let template = try MessageTemplate(subject: "s", html: "<b title=\"{{name}}\">{{name}}</b>", text: nil)
        let html = template.render(["name": "\"\u{301} onfocus=x <\u{338}i>"]).html ?? ""
        let inert = "&quot;\u{301} onfocus=x &lt;\u{338}i&gt;"
        #expect(Array(html.utf8) == Array("<b title=\"\(inert)\">\(inert)</b>".utf8))
    }

    @Test(arguments: [
        (
            "<a href=\"https://x.example/?q={{v}}&amp;z=1\">",
            "<a href=\"https://x.example/?q=Tom%20%26%20J%2F%C3%A9%27%2525&amp;z=1\">"
        ),
        ("<a href='#{{ v }}'>", "<a href='#Tom%20%26%20J%2F%C3%A9%27%2525'>"),
        ("<img src=\"/pay/{{v}}.png\">", "<img src=\"/pay/Tom%20&amp;%20J/%C3%A9&#39;%25.png\">"),
        (
            "<a href=\"mailto:{{at}}?subject={{v}}\">",
            "<a href=\"mailto:a+b@x.example?subject=Tom%20%26%20J%2F%C3%A9%27%2525\">"
        ),
        ("<a href=\"{{url}}\">", "<a href=\"https://x.example/?a=1&amp;b=2\">"),
        (
            "<a href=\" {{url}}&amp;c={{at}}&{{at}}\">",
            "<a href=\" https://x.example/?a=1&amp;b=2&amp;c=a%2Bb%40x.example&a%2Bb%40x.example\">"
        ),
        (
            "<a href=\"{{^url}}/pay?src=mail{{/url}}{{#url}}{{url}}{{/url}}\">",
            "<a href=\"https://x.example/?a=1&amp;b=2\">"
        ),
        ("<a href=\"{{^url}}#{{/url}}{{url}}\">", "<a href=\"https://x.example/?a=1&amp;b=2\">"),
        ("<a href=\"/{{#no}}?a={{at}}{{/no}}{{^no}}p/{{path}}{{/no}}\">", "<a href=\"/p/a/b\">"),
        ("<a href=\"/{{#v}}?v={{v}}{{/v}}&r={{path}}\">", "<a href=\"/?v=Tom%20%26%20J%2F%C3%A9%27%2525&r=a%2Fb\">"),
        ("<a href=\"/?{{pairs}}&n={{pairs}}\">", "<a href=\"/?a=1&amp;b=2&n=a%3D1%26b%3D2\">"),
        ("<a href=\"/o&#39;neil/{{path}}&quest;q={{path}}\">", "<a href=\"/o&#39;neil/a/b&quest;q=a%2Fb\">"),
        ("<a href=\"/?a=1\n&n={{path}}\n{{path}}\">", "<a href=\"/?a=1\n&n=a%2Fb\na/b\">"),
        (
            "<!--[if mso]><v:roundrect href=\"/?q={{path}}\"><![endif]-->",
            "<!--[if mso]><v:roundrect href=\"/?q=a%2Fb\"><![endif]-->"
        ),
        ("<!--[if<!--[if<a href=\"/?q={{path}}\"-->", "<!--[if<!--[if<a href=\"/?q=a/b\"-->"),
        ("<!-- {{! --> <a href=\"/?q={{path}}\"> }} -->", "<!-- \"> }} -->"),
        ("<title>{{! </title> <a href=\"/?q={{x y}}\"> }}", "<title>\"> }}"),
        ("<a href=\"/?q=\u{600}{{path}}\">", "<a href=\"/?q=\u{600}{{path}}\">"),
        ("<a href=\"/?q=é{{path}}\">", "<a href=\"/?q=éa%2Fb\">"),
        ("<a href=\"/?{{#v}}q={{v}}{{/v}}{{{at}}}\">", "<a href=\"/?q=Tom%20%26%20J%2F%C3%A9%27%2525a+b@x.example\">"),
        (
            "<a title=\"?{{at}} {{v}}\">?q={{v}}",
            "<a title=\"?a+b@x.example Tom &amp; J/é&#39;%25\">?q=Tom &amp; J/é&#39;%25"
        ),
        ("<!-- <a href=\"/?{{v}}\"> -->", "<!-- <a href=\"/?Tom &amp; J/é&#39;%25\"> -->"),
        ("<a href=\"/?u={{respond_url}}\">", "<a href=\"/?u=https://link.rollcall.invalid/respond_url\">"),
    ])
    func `a merge value in an address stays one value of it`(html: String, _ expected: String) throws {
        let values = [
            "v": "Tom & J/é'%25", "at": "a+b@x.example", "url": "https://x.example/?a=1&b=2", "path": "a/b",
            "pairs": "a=1&b=2",
        ]
        for section in ["", "{{#none}}{{/none}}"] {
            let template = try MessageTemplate(subject: "s", html: html + section, text: nil)
            #expect(template.render(values).html == expected)
        }
    }

    @Test(arguments: [
        ("<p>\n<td width={{w}}>", 14), ("<a href=x{{id}} title=\"\">", 9), ("<b {{name}}>", 3), ("<b {{{name}}}>", 3),
        ("<h{{level}}>", 2), ("<{{tag}}>", 1), ("</{{tag}}>", 2), ("<a {{#x}}title={{x}}{{/x}}>", 15),
        ("<i a='{{x}}' {{x}}>", 13),
    ])
    func `a value that could add to a tag is found`(html: String, at octet: Int) {
        #expect(AnchorScanner.bareValue(inTemplate: Array(html.utf8)) == octet)
    }

    @Test(arguments: [
        "<p title=\"{{x}}\" class='{{x}}'>{{x}}</p>{{{x}}}", "{{x}}", "1 < {{x}} > 2", "<", "<{", "",
        "<a {{#x}}title=\">\"{{/x}} {{! x }} href=\"{{^x}}y{{/x}}\">", "<!--[if mso]>{{x}}<![endif]-->",
        "<style>a{color:{{x}}}</style><title>{{x}}</title>{{x}}",
    ])
    func `a value in a text, in quotation marks or in a comment adds to no tag`(html: String) {
        #expect(AnchorScanner.bareValue(inTemplate: Array(html.utf8)) == nil)
    }

    @Test func `text begins as the template does, sections on the first line included`() throws {
        let template = try MessageTemplate(
            subject: "s", html: nil, text: "\n{{#bus}}\nBus {{bus}}\n{{/bus}}\n  end")
        #expect(template.render(["bus": "12"]).text == "\nBus 12\n  end")
        let first = try MessageTemplate(subject: "s", html: nil, text: "{{#bus}}\nBus {{bus}}\n{{/bus}}\nend")
        #expect(first.render(["bus": "12"]).text == "Bus 12\nend")
    }

    @Test func `an empty value counts as absent`() throws {
        let template = try MessageTemplate(subject: "{{^x}}none{{/x}}{{#x}}some{{/x}}", html: nil, text: "t")
        #expect(template.render(["x": ""]).subject == "none")
        #expect(template.render(["x": "1"]).subject == "some")
    }

    @Test(arguments: [
        "{{> other}}", "{{=<% %>=}}", "{{% CONTENT_TYPE:TEXT}}", "{{#a}}", "{{/a}}", "{{name", "{{$b}}x{{/b}}",
        String(repeating: "{{#a}}", count: 5000) + String(repeating: "{{/a}}", count: 5000),
    ])
    func `templates that are broken or could change the rules are refused`(template: String) {
        #expect(throws: MessageTemplate.Fault.self) { try MessageTemplate(subject: "s", html: template, text: nil) }
    }

    @Test func `tracked links are the static http addresses of anchors, in order, each once`() {
        let html = """
            <!-- <a href="https://comment.example/">x</a> -->
            <style>a[href="https://style.example/"] {}</style>
            <A class=x HREF='https://one.example/?a=1&amp;b=2'>1</A> <a href="https://{{host}}/x">no</a>
            <a {{#x}}title=">"{{/x}} href=http://two.example/>2</a> <a href="mailto:a@b.example">no</a>
            <a href=" https://one.example/?a=1&b=2 ">again</a> <a href="#top">no</a> <area href="https://area.example/">
            {{! <a href="https://hidden.example/">x</a> }}<a data-href="https://data.example/" href="https://three.example/">3</a>
            """
        #expect(
            TrackedLinks.find(inTemplate: html) == [
                "https://one.example/?a=1&b=2", "http://two.example/", "https://three.example/",
            ])
    }

    @Test(arguments: [
        "<a href=\"https://x.example", "<a href=", "<a", "<", "<!--", "<style>", "{{", "<a {{", "<a ==>", "",
    ])
    func `broken HTML ends the search without a link and loses nothing`(html: String) {
        #expect(TrackedLinks.rewrite(Array(html.utf8)) { _ in "changed" }.count >= html.utf8.count - 24)
        _ = TrackedLinks.find(inTemplate: html)
    }

    @Test func `every tracked link is rewritten wherever it stands, and nothing else changes`() {
        let html =
            "<a href=\"https://a.example/\">a</a><p title='{{'><a href='https://b.example/?x&amp;y'>b</a> https://a.example/"
        let rewritten = TrackedLinks.rewrite(Array(html.utf8)) { destination in
            ["https://a.example/": "L1", "https://b.example/?x&y": "L2"][String(decoding: destination, as: UTF8.self)]
        }
        #expect(
            String(decoding: rewritten, as: UTF8.self)
                == "<a href=\"L1\">a</a><p title='{{'><a href='L2'>b</a> https://a.example/")
    }

    @Test func `the pixel stands before the last end of body, or at the end`() {
        func insert(_ html: String) -> String {
            String(decoding: TrackedLinks.insert("*", intoBodyOf: Array(html.utf8)), as: UTF8.self)
        }
        #expect(insert("<BODY>x</BODY></html>") == "<BODY>x*</BODY></html>")
        #expect(insert("x") == "x*")
        #expect(insert("") == "*")
    }

    @Test func `return path and Message-ID are deterministic, lower case and short, and differ by key`() throws {
        let keys = try TokenKeys(["1:" + String(repeating: "ab", count: 32)])
        let other = try TokenKeys(["1:" + String(repeating: "cd", count: 32)])
        let token = LinkToken(purpose: .delivery, district: DistrictID(7), delivery: delivery)
        let local = ReturnPath.localPart(delivery, signed: keys.signed(token))
        #expect(local == ReturnPath.localPart(delivery, signed: keys.signed(token)))
        #expect(local != ReturnPath.localPart(delivery, signed: other.signed(token)))
        #expect(local.utf8.count <= 64)
        #expect(local == local.lowercased())
        #expect(Base32.encode(Array("foobar".utf8)) == "mzxw6ytboi")
        #expect(ReturnPath.messageID(delivery).utf8.count == 32)
    }

    @Test func `a message carries its tokens; the content hash is of what was rendered before them`() throws {
        let keys = try TokenKeys(["1:" + String(repeating: "ab", count: 32)])
        let composer = MessageComposer(publicURL: "https://t.example/", bounceDomain: "bounce.example", keys: keys)
        let html = "<body><a href=\"https://one.example/\">Hi {{first}}</a></body>"
        func document(_ isEmergency: Bool) throws -> BlastDocument {
            BlastDocument(
                blast: delivery.blast, district: DistrictID(7), isEmergency: isEmergency,
                from: Mailbox(name: "Office", address: try EmailAddress(parsing: "office@school.example")),
                replyTo: nil,
                template: .success(try MessageTemplate(subject: "Hi", html: html, text: nil)),
                links: [Array("https://one.example/".utf8): 1])
        }
        let recipient = Recipient(
            number: 42, address: "jane@home.example", addressHash: [1], name: "Jane", personReference: nil, school: nil,
            fields: #"{"first": "Jane"}"#)
        let composition = composer.compose(recipient, of: try document(false), unixSeconds: 0)
        #expect(
            composition.contentHash
                == ContentHash.of(
                    subject: "Hi", text: nil, html: "<body><a href=\"https://one.example/\">Hi Jane</a></body>"))
        let message = try composition.result.get()
        #expect(message.envelope.recipient == "jane@home.example")
        #expect(message.envelope.sender.hasSuffix("@bounce.example"))
        let text = String(decoding: message.octets, as: UTF8.self).split(separator: "=\r\n").joined()
        let header = try #require(text.split(separator: "\r\n").first { $0.hasPrefix("X-Rollcall-Delivery:") })
        let headerToken = header.split(separator: ":")[1].filter { $0 != " " }
        #expect(keys.verify(headerToken)?.delivery == delivery)
        for (path, purpose) in [("/c/", LinkToken.Purpose.click), ("/o/", .open), ("/u/", .unsubscribe)] {
            let start = try #require(text.firstRange(of: "https://t.example\(path)")).upperBound
            let token = keys.verify(
                String(text[start...].prefix { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" }))
            #expect(token?.purpose == purpose)
            #expect(token?.delivery == delivery)
            #expect(token?.link == (purpose == .click ? 1 : 0))
        }
        #expect(text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"))
        let emergency = try composer.compose(recipient, of: try document(true), unixSeconds: 0).result.get()
        #expect(!String(decoding: emergency.octets, as: UTF8.self).contains("List-Unsubscribe"))
    }

    @Test func `a recipient whose address came before in the blast gets no message of its own`() throws {
        let keys = try TokenKeys(["1:" + String(repeating: "ab", count: 32)])
        let composer = MessageComposer(publicURL: "https://t.example", bounceDomain: "bounce.example", keys: keys)
        let document = BlastDocument(
            blast: delivery.blast, district: DistrictID(7), isEmergency: true,
            from: Mailbox(address: try EmailAddress(parsing: "office@school.example")), replyTo: nil,
            template: .success(try MessageTemplate(subject: "s", html: nil, text: "t")), links: [:])
        var recipient = Recipient(
            number: 3, address: "jane@home.example", addressHash: [1], name: nil, personReference: nil, school: nil,
            fields: "{}")
        recipient.original = 1
        let result = composer.compose(recipient, of: document, unixSeconds: 0).result
        let fault = #expect(throws: CompositionFault.self) { try result.get() }
        #expect(fault?.fact == .duplicate)
    }

    @Test func `S-03: a line break that reaches the subject stops the message`() throws {
        let keys = try TokenKeys(["1:" + String(repeating: "ab", count: 32)])
        let composer = MessageComposer(publicURL: "https://t.example", bounceDomain: "bounce.example", keys: keys)
        let document = BlastDocument(
            blast: delivery.blast, district: DistrictID(7), isEmergency: false,
            from: Mailbox(address: try EmailAddress(parsing: "office@school.example")), replyTo: nil,
            template: .success(try MessageTemplate(subject: "{{x}}", html: nil, text: "t")), links: [:])
        for field in ["a\\r\\nBcc: b@c.example", "a\\nb", "a\\rb"] {
            let recipient = Recipient(
                number: 1, address: "jane@home.example", addressHash: [1], name: nil, personReference: nil, school: nil,
                fields: "{\"x\": \"\(field)\"}")
            let result = composer.compose(recipient, of: document, unixSeconds: 0).result
            #expect(throws: CompositionFault.self) { try result.get() }
        }
    }
}

@Suite("Hand-over slots")
struct DispatchSlotsTests {
    @Test func `each channel has its own, and who waits for a full one is sent away when there is another`() async {
        let slots = HandOverSlots([.email: 3, .sms: 2])
        #expect(await slots.acquire(upTo: 9, of: .sms, isEmergency: false) == 2)
        #expect(slots.crowded.isEmpty, "nobody has waited")
        #expect(await slots.acquire(upTo: 1, of: .sms, isEmergency: true) == 0)
        #expect(slots.crowded == [.sms] && slots.isStalled(.sms) && !slots.isStalled(.email))
        #expect(await slots.acquire(upTo: 2, of: .email, isEmergency: false) == 2)
        #expect(await slots.acquire(upTo: 2, of: .email, isEmergency: false) == 1)
        slots.release(1, of: .sms)
        #expect(slots.crowded.isEmpty && !slots.isStalled(.sms))
        #expect(await slots.acquire(upTo: 2, of: .sms, isEmergency: false) == 1)
        slots.limit(to: 1, of: .email)
        slots.release(1, of: .email)
        slots.release(1, of: .email)
        #expect(
            await slots.acquire(upTo: 1, of: .email, isEmergency: false) == 0, "the limit is one, and one is in use")
        slots.release(1, of: .email)
        slots.release(2, of: .sms)
        #expect(slots.inUse == 0)
    }

    @Test func `what is decided about a channel that nothing is set up for passes through another's`() async {
        let slots = HandOverSlots([.email: 1])
        #expect(await slots.acquire(upTo: 4, of: .sms, isEmergency: false) == 1)
        #expect(slots.inUse == 1)
        slots.release(1, of: .sms)
        #expect(slots.inUse == 0)
    }

    @Test func `no more are given out than there are, emergency first, and a stop ends the wait`() async {
        let slots = HandOverSlots(capacity: 3)
        #expect(await slots.acquire(upTo: 2, isEmergency: false) == 2)
        #expect(await slots.acquire(upTo: 5, isEmergency: false) == 1)
        #expect(slots.inUse == 3)
        slots.release(1)
        #expect(await slots.acquire(upTo: 5, isEmergency: true) == 1)
        #expect(await slots.drain(within: .milliseconds(20)) == false)
        async let waiting = slots.acquire(upTo: 1, isEmergency: false)
        slots.close()
        #expect(await waiting == 0)
        slots.release(3)
        #expect(await slots.drain(within: .seconds(5)))
    }
}
