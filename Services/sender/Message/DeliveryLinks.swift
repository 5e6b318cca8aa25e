import Delivery
import Mail
import Signing

/// The addresses in a message that are one delivery's own.
struct DeliveryLinks {
    /// Without a slash at its end.
    let publicURL: [UInt8]
    let keys: TokenKeys
    let district: DistrictID
    let delivery: DeliveryID

    /// What `append` appends.
    func text(_ append: (DeliveryLinks, inout [UInt8]) -> Void) -> String {
        var octets: [UInt8] = []
        append(self, &octets)
        return String(decoding: octets, as: UTF8.self)
    }

    /// The octets of the token that names the delivery to the provider.
    var signedDelivery: [UInt8] {
        keys.signed(LinkToken(purpose: .delivery, district: district, delivery: delivery))
    }

    func append(_ link: PersonalLink, to octets: inout [UInt8]) {
        append(link.route, link.purpose, to: &octets)
    }

    func appendClick(_ link: Int16, to octets: inout [UInt8]) {
        append("c", .click, link: link, to: &octets)
    }

    /// The image that tells that a message was opened.
    func appendOpenPixel(to octets: inout [UInt8]) {
        octets += "<img src=\"".utf8
        append("o", .open, to: &octets)
        octets += "\" width=\"1\" height=\"1\" alt=\"\">".utf8
    }

    private func append(
        _ route: Unicode.Scalar, _ purpose: LinkToken.Purpose, link: Int16 = 0, to octets: inout [UInt8]
    ) {
        octets += publicURL
        octets.append(UInt8(ascii: "/"))
        octets.append(UInt8(ascii: route))
        octets.append(UInt8(ascii: "/"))
        let token = LinkToken(purpose: purpose, district: district, delivery: delivery, link: link)
        Base64URL.append(keys.signed(token), to: &octets)
    }
}

extension MessageBody {
    /// The body of one delivery.
    func filled(_ values: MergedValues, _ links: DeliveryLinks, _ document: BlastDocument) -> MIMEBody {
        var result: [UInt8] = []
        result.reserveCapacity(size + size / 4 + 2048)
        var line: [UInt8] = []
        line.reserveCapacity(1024)
        for segment in segments {
            switch segment {
            case .encoded(let octets): result += octets
            case .mixed(let pieces, let continues):
                line.removeAll(keepingCapacity: true)
                for piece in pieces { Self.append(piece, values, links, document.links, to: &line) }
                QuotedPrintable.append(line, to: &result, continues: continues)
            }
        }
        QuotedPrintable.endText(&result)
        return .quotedPrintable(result)
    }

    private static func append(
        _ piece: BodyPiece, _ values: MergedValues, _ links: DeliveryLinks, _ tracked: [[UInt8]: Int16],
        to line: inout [UInt8]
    ) {
        switch piece {
        case .text(let text): line += text
        case .value(let value): line += values[value]
        case .personal(let link): links.append(link, to: &line)
        case .click(let number): links.appendClick(number, to: &line)
        case .openPixel: links.appendOpenPixel(to: &line)
        case .address(let pieces):
            let start = line.count
            for piece in pieces { append(piece, values, links, tracked, to: &line) }
            if let destination = TrackedLinks.destination(line[start...], isTemplate: false),
                let number = tracked[destination]
            {
                line.removeSubrange(start...)
                links.appendClick(number, to: &line)
            }
        }
    }
}
