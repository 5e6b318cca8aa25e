// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// What the sender answers to an order.
struct SentOrder: Decodable {
    let audience: Int
    let send_requested_at: String
    let send_at: String?
    let approval_until: String?

    func show() {
        let text =
            if let approval_until {
                "ordered for \(audience) recipients; somebody else has to approve it until \(approval_until)"
            } else if let send_at {
                "ordered for \(audience) recipients, to be sent at \(send_at)"
            } else {
                "sending to \(audience) recipients since \(send_requested_at)"
            }
        Terminal.say(Terminal.plain(text))
    }
}
