// The frozen tables of `Shared/Requirements.md`: which fact has which word.

extension StatusVocabulary {
    /// Each status-bearing fact by its own plain name.
    public static let canonical = StatusVocabulary(
        name: "canonical", title: "Rollcall",
        Dictionary(
            uniqueKeysWithValues: DeliveryFacts.canonicalMask.facts.map { fact in
                let spaced = String(fact.name.map { $0 == "_" ? " " : $0 })
                return (fact, .own(spaced.prefix(1).uppercased() + spaced.dropFirst()))
            }))

    /// iClassPro, the text of 2018 (O-01): six words.
    public static let iClassPro2018 = StatusVocabulary(
        name: "iclasspro-2018", title: "iClassPro (2018)",
        [
            .pending: "Sent", .validating: .lossy("Sent"), .deferred: "Sent", .noAddress: .own("No Email"),
            .consentDenied: .own("Skipped"), .notSelected: .own("Skipped"), .skipped: .own("Skipped"),
            .duplicate: .own("Duplicate"), .blockedBounce: "Invalid", .blockedComplaint: "Invalid",
            .blockedInvalid: "Invalid", .invalid: .lossy("Invalid"), .cancelled: .own("Cancelled"),
            .inDoubt: .lossy("Sent"), .unknown: .lossy("Sent"), .sent: "Sent", .delayed: "Sent",
            .notSent: .own("Not Sent"), .expired: "Bounce", .bounced: "Bounce", .bouncedInvalid: "Bounce",
            .delivered: "Delivery", .opened: "Open", .clicked: "Click", .acknowledged: .lossy("Click"),
            .responded: .lossy("Click"),
        ])

    /// iClassPro, current (I-04): ten words.
    public static let iClassPro = StatusVocabulary(
        name: "iclasspro", title: "iClassPro",
        [
            .pending: .own("Queued"), .validating: "Validate", .deferred: "Sent", .noAddress: .own("No Email"),
            .consentDenied: .lossy("Skipped"), .notSelected: .lossy("Skipped"), .skipped: "Skipped",
            .duplicate: "Duplicate", .blockedBounce: "Bounce", .blockedComplaint: "Complaint",
            .blockedInvalid: "Invalid", .invalid: "Invalid", .cancelled: .own("Cancelled"), .inDoubt: .lossy("Sent"),
            .unknown: .lossy("Sent"), .sent: "Sent", .delayed: "Sent", .notSent: .own("Not Sent"),
            .expired: "Bounce", .bounced: "Bounce", .bouncedInvalid: "Bounce", .delivered: "Delivery",
            .opened: "Open", .clicked: "Click", .acknowledged: .lossy("Click"), .responded: .lossy("Click"),
            .complained: "Complaint",
        ])

    /// SchoolMessenger (S-04 to S-13).
    public static let schoolMessenger = StatusVocabulary(
        name: "schoolmessenger", title: "SchoolMessenger",
        [
            .pending: "Unsent", .validating: .lossy("Unsent"), .deferred: "Soft Bounced",
            .noAddress: .own("No Email"), .consentDenied: .lossy("No Email Selected"),
            .notSelected: "No Email Selected", .skipped: .lossy("Blocked"), .duplicate: "Duplicate",
            .blockedBounce: "Blocked", .blockedComplaint: "Blocked", .blockedInvalid: "Blocked", .invalid: "Failed",
            .cancelled: .own("Cancelled"), .inDoubt: .lossy("Sent"), .unknown: .lossy("Sent"), .sent: "Sent",
            .delayed: "Soft Bounced", .notSent: .lossy("Failed"), .expired: "Bounced", .bounced: "Bounced",
            .bouncedInvalid: "Failed", .delivered: "Delivered", .opened: "Opened", .clicked: .lossy("Opened"),
            .acknowledged: .lossy("Opened"), .responded: .lossy("Opened"),
        ])

    /// Crisisworks (C-10 to C-17).
    public static let crisisworks = StatusVocabulary(
        name: "crisisworks", title: "Crisisworks",
        [
            .pending: "Pending", .validating: .lossy("Pending"), .deferred: "Bounced Temporarily",
            .noAddress: .lossy("Not Sent"), .consentDenied: .lossy("Opted-out"), .notSelected: .lossy("Not Sent"),
            .skipped: .lossy("Opted-out"), .duplicate: .lossy("Not Sent"), .blockedBounce: .lossy("Not Sent"),
            .blockedComplaint: .lossy("Not Sent"), .blockedInvalid: .lossy("Not Sent"), .invalid: "Not Sent",
            .cancelled: .own("Cancelled"), .inDoubt: .lossy("Sent"), .unknown: .lossy("Sent"), .sent: "Sent",
            .delayed: "Bounced Temporarily", .notSent: "Not Sent", .expired: "Failed", .bounced: "Failed",
            .bouncedInvalid: "Failed", .delivered: "Delivered", .opened: "Read", .clicked: .lossy("Read"),
            .acknowledged: "Acknowledged", .responded: "Responded", .optedOut: "Opted-out", .complained: "Failed",
        ])
}
