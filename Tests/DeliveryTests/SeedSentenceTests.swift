import Delivery
import Testing

/// The explicit sentences of the products' own documents, one test each. The ids are those of `Shared/Requirements.md`.
@Suite struct `What the products promise` {
    private func word(_ vocabulary: StatusVocabulary, _ facts: DeliveryFact...) -> String {
        vocabulary.word(for: DeliveryFacts(facts).union(.pending))
    }

    @Test func `I-04 iClassPro has its ten words`() {
        let words = Set(StatusVocabulary.iClassPro.words.filter { $0.value.fidelity != .own }.map(\.value.text))
        #expect(
            words == [
                "Bounce", "Click", "Complaint", "Delivery", "Duplicate", "Invalid", "Open", "Sent", "Skipped",
                "Validate",
            ])
    }

    @Test func `O-01 iClassPro of 2018 has exactly six words of its own`() {
        let words = Set(StatusVocabulary.iClassPro2018.words.filter { $0.value.fidelity != .own }.map(\.value.text))
        #expect(words == ["Sent", "Delivery", "Open", "Click", "Bounce", "Invalid"])
    }

    @Test func `I-07 a refused mailbox and a missing domain are both Bounce`() {
        #expect(word(.iClassPro, .bounced) == "Bounce")
        #expect(word(.iClassPro, .bouncedInvalid) == "Bounce")
    }

    @Test func `I-09 and O-06 a soft bounce reads Sent while it is tried again`() {
        #expect(word(.iClassPro, .deferred) == "Sent")
        #expect(word(.iClassPro2018, .deferred) == "Sent")
        #expect(word(.iClassPro, .sent, .delayed) == "Sent")
        #expect(word(.iClassPro, .deferred, .bounced) == "Bounce")
    }

    @Test func `I-10 I-13 I-17 Open replaces Delivery and Click replaces Open`() {
        #expect(word(.iClassPro, .sent, .delivered) == "Delivery")
        #expect(word(.iClassPro, .sent, .delivered, .opened) == "Open")
        #expect(word(.iClassPro, .sent, .delivered, .opened, .clicked) == "Click")
    }

    @Test func `I-11 an address that complained before reads Complaint, as does one that complains now`() {
        #expect(word(.iClassPro, .blockedComplaint) == "Complaint")
        #expect(word(.iClassPro, .sent, .delivered, .complained) == "Complaint")
    }

    @Test func `I-14 I-15 I-18 I-19 I-20 each exclusion has its word`() {
        #expect(word(.iClassPro, .duplicate) == "Duplicate")
        #expect(word(.iClassPro, .invalid) == "Invalid")
        #expect(word(.iClassPro, .sent) == "Sent")
        #expect(word(.iClassPro, .skipped) == "Skipped")
        #expect(word(.iClassPro, .validating) == "Validate")
    }

    @Test func `I-32 Verify is read as Validate`() {
        #expect(
            StatusVocabulary.iClassPro.facts(shownAs: "Verify") == StatusVocabulary.iClassPro.facts(shownAs: "Validate")
        )
        #expect(StatusVocabulary.iClassPro.facts(shownAs: "verify").contains(.validating))
    }

    @Test func `O-04 waiting in the queue already reads Sent in 2018`() {
        #expect(word(.iClassPro2018) == "Sent")
        #expect(word(.iClassPro) == "Queued")
    }

    @Test func `O-08 a past hard bounce or complaint reads Invalid in 2018`() {
        #expect(word(.iClassPro2018, .blockedBounce) == "Invalid")
        #expect(word(.iClassPro2018, .blockedComplaint) == "Invalid")
    }

    @Test func `S-03 and S-14 a delivered message never becomes Bounced, whichever news comes first`() {
        #expect(word(.schoolMessenger, .sent, .delivered, .bounced) == "Delivered")
        #expect(word(.schoolMessenger, .sent, .bounced, .delivered) == "Delivered")
        #expect(DeliveryFacts(.pending, .delivered, .bounced).isLateBounce)
        #expect(!DeliveryFacts(.pending, .bounced).isLateBounce)
    }

    @Test func `S-04 to S-13 SchoolMessenger's words`() {
        #expect(word(.schoolMessenger, .blockedBounce) == "Blocked")
        #expect(word(.schoolMessenger, .bounced) == "Bounced")
        #expect(word(.schoolMessenger, .duplicate) == "Duplicate")
        #expect(word(.schoolMessenger, .invalid) == "Failed")
        #expect(word(.schoolMessenger, .bouncedInvalid) == "Failed")
        #expect(word(.schoolMessenger, .notSelected) == "No Email Selected")
        #expect(word(.schoolMessenger, .deferred) == "Soft Bounced")
        #expect(word(.schoolMessenger) == "Unsent")
        #expect(word(.schoolMessenger, .sent) == "Sent")
        #expect(word(.schoolMessenger, .sent, .delivered) == "Delivered")
        #expect(word(.schoolMessenger, .sent, .opened) == "Opened")
    }

    @Test func `C-05 C-10 to C-17 Crisisworks' words`() {
        #expect(word(.crisisworks) == "Pending")
        #expect(word(.crisisworks, .sent) == "Sent")
        #expect(word(.crisisworks, .notSent) == "Not Sent")
        #expect(word(.crisisworks, .sent, .delivered) == "Delivered")
        #expect(word(.crisisworks, .deferred) == "Bounced Temporarily")
        #expect(word(.crisisworks, .sent, .delayed) == "Bounced Temporarily")
        #expect(word(.crisisworks, .bounced) == "Failed")
        #expect(word(.crisisworks, .sent, .opened) == "Read")
        #expect(word(.crisisworks, .sent, .acknowledged) == "Acknowledged")
        #expect(word(.crisisworks, .sent, .acknowledged, .responded) == "Responded")
        #expect(word(.crisisworks, .sent, .optedOut) == "Opted-out")
    }

    @Test func `C-13 a complaint reads Failed even after Delivered, a bounce does not`() {
        #expect(word(.crisisworks, .sent, .delivered, .complained) == "Failed")
        #expect(word(.crisisworks, .sent, .delivered, .bounced) == "Delivered")
    }

    @Test func `K-12 and K-13 auto-replies and machine opens move no status anywhere`() {
        for vocabulary in StatusVocabulary.all {
            for fact in [DeliveryFact.autoresponded, .machineOpen, .machineClick] {
                #expect(word(vocabulary, .sent, .delivered, fact) == word(vocabulary, .sent, .delivered))
            }
        }
    }

    @Test func `a recipient blocked while waiting for a retry reads Blocked, one accepted at the third try reads Sent`()
    {
        #expect(word(.schoolMessenger, .deferred, .blockedComplaint) == "Blocked")
        #expect(word(.schoolMessenger, .deferred, .sent) == "Sent")
    }

    @Test func `if a block and a hand-over raced, the row says that it was sent`() {
        #expect(word(.schoolMessenger, .blockedBounce, .sent) == "Sent")
        #expect(word(.crisisworks, .skipped, .inDoubt) == "Sent")
    }

    @Test func `no word says sent without evidence of sending, except where a product does so itself`() {
        let beforeHandOver = DeliveryFacts.excludedMask.facts + [.pending, .validating]
        for vocabulary in StatusVocabulary.all where vocabulary.name != "iclasspro-2018" {
            for fact in beforeHandOver { #expect(word(vocabulary, fact) != "Sent", "\(vocabulary.name) \(fact.name)") }
        }
    }

    @Test func `every vocabulary has exactly one word for every reachable set`() {
        for vocabulary in StatusVocabulary.all {
            #expect(vocabulary.mask.contains(.pending))
            for set in `Delivery facts`.sets { #expect(!vocabulary.word(for: set).isEmpty) }
        }
    }

    @Test func `the words that may reappear are known`() {
        func shared(_ vocabulary: StatusVocabulary) -> Set<String> {
            let words = vocabulary.words.values.map(\.text)
            return Set(words.filter { word in words.filter { $0 == word }.count > 1 })
        }
        #expect(shared(.canonical).isEmpty)
        #expect(shared(.iClassPro) == ["Bounce", "Click", "Complaint", "Invalid", "Sent", "Skipped"])
        #expect(shared(.iClassPro2018) == ["Bounce", "Click", "Invalid", "Sent", "Skipped"])
        #expect(
            shared(.schoolMessenger) == [
                "Blocked", "Bounced", "Failed", "No Email Selected", "Opened", "Sent",
                "Soft Bounced", "Unsent",
            ])
        #expect(
            shared(.crisisworks) == [
                "Bounced Temporarily", "Failed", "Not Sent", "Opted-out", "Pending", "Read",
                "Sent",
            ])
    }
}
