// swift-format-ignore: AlwaysUseLowerCamelCase, members are named as on the wire
/// What the sender answers to an order.
struct SentOrder: Decodable {
    let audience: Int
    let send_requested_at: String
    let approval_until: String?

    /// - Parameter blast: as it is after the order.
    func show(_ blast: SenderBlast) {
        let waits = blast.waits.map { "; \($0)" } ?? ""
        let text =
            if let approval_until {
                "ordered for \(audience) recipients; somebody else has to approve it until \(approval_until)"
            } else if blast.state == "scheduled", let sendAt = blast.send_at {
                "ordered for \(audience) recipients, to be sent at \(sendAt)\(waits)"
            } else if !waits.isEmpty {
                "ordered for \(audience) recipients\(waits)"
            } else {
                "sending to \(audience) recipients since \(send_requested_at)"
            }
        Terminal.say(Terminal.plain(text))
    }
}
