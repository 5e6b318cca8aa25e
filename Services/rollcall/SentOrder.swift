// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// What the sender answers to an order.
struct SentOrder: Decodable {
    let audience: Int
    let send_requested_at: String
    let approval_until: String?

    /// - Parameter sendAt: when it is to be sent, if later.
    func show(at sendAt: String?) {
        let text =
            if let approval_until {
                "ordered for \(audience) recipients; somebody else has to approve it until \(approval_until)"
            } else if let sendAt {
                "ordered for \(audience) recipients, to be sent at \(sendAt)"
            } else {
                "sending to \(audience) recipients since \(send_requested_at)"
            }
        Terminal.say(Terminal.plain(text))
    }
}
