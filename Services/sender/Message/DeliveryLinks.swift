import Delivery
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
