import Delivery

/// A recipient of a test list: what the list says, and what must come of it.
struct ListedRecipient: Sendable {
    let address: String
    /// The canonical status that the address's behaviour implies.
    let status: DeliveryFact
    /// Further facts that must be there, and facts that must not.
    let also: DeliveryFacts
    let never: DeliveryFacts
    /// Whether the receiving side accepts the message.
    let isAccepted: Bool

    init(
        _ address: String, _ status: DeliveryFact, also: DeliveryFacts = .initial, never: DeliveryFacts? = nil,
        accepted: Bool
    ) {
        self.address = address
        self.status = status
        self.also = also
        self.never = never ?? DeliveryFacts(bits: 0)
        isAccepted = accepted
    }

    func isMet(by facts: DeliveryFacts) -> Bool {
        facts.canonicalStatus == status && facts.isSuperset(of: also) && !facts.intersects(never)
    }
}

/// One recipient per behaviour of the mailbox simulator and per fault of a list, over and over.
enum Mailboxes {
    static func list(_ count: Int, tag: String = "", silent: Bool = true) -> [ListedRecipient] {
        var list: [ListedRecipient] = []
        var number = 0
        while list.count < count {
            number += 1
            list += round("\(number)\(tag)", silent: silent)
        }
        return Array(list.prefix(count))
    }

    private static func round(_ n: String, silent: Bool) -> [ListedRecipient] {
        func at(_ behaviour: String) -> String { "\(behaviour)-\(n)@families.example" }
        var list = [
            ListedRecipient(at("success"), .delivered, also: .init(.sent), never: .init(.opened), accepted: true),
            ListedRecipient(at("bounce"), .bouncedInvalid, never: .init(.sent), accepted: false),
            ListedRecipient(at("block"), .bounced, never: .init(.sent), accepted: false),
            ListedRecipient(at("soft"), .delivered, also: .init(.deferred, .sent), accepted: true),
            ListedRecipient(at("softforever"), .expired, also: .init(.deferred), never: .init(.sent), accepted: false),
            ListedRecipient(at("asyncbounce"), .bouncedInvalid, also: .init(.sent), accepted: true),
            ListedRecipient(at("complaint"), .complained, also: .init(.delivered), accepted: true),
            ListedRecipient(at("open"), .opened, also: .init(.delivered), never: .init(.machineOpen), accepted: true),
            ListedRecipient(at("click"), .clicked, also: .init(.opened), never: .init(.machineClick), accepted: true),
            ListedRecipient(
                at("scanner"), .delivered, also: .init(.machineOpen, .machineClick), never: .init(.opened, .clicked),
                accepted: true),
            ListedRecipient(at("unsub"), .optedOut, also: .init(.delivered), accepted: true),
            ListedRecipient(at("dropbefore"), .delivered, also: .init(.sent), accepted: true),
            ListedRecipient(at("dropafter"), .delivered, also: .init(.inDoubt), accepted: true),
            ListedRecipient(at("slow"), .delivered, accepted: true),
            ListedRecipient(at("delayed"), .delivered, also: .init(.delayed), accepted: true),
            ListedRecipient(at("latebounce"), .delivered, also: .init(.bouncedInvalid), accepted: true),
            ListedRecipient("no-at-sign-\(n)", .invalid, never: .init(.sent), accepted: false),
            ListedRecipient("", .noAddress, never: .init(.sent), accepted: false),
            ListedRecipient(at("success"), .duplicate, never: .init(.sent), accepted: false),
        ]
        if silent { list.append(ListedRecipient(at("silent"), .sent, accepted: true)) }
        return list
    }
}
