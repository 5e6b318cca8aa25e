import Runtime

/// The bounds of what intake accepts.
struct IntakeLimits: Sendable {
    /// Octets of a `POST /v1/blasts` body.
    var blastOctets = 1024 * 1024
    /// Octets of one template.
    var templateOctets = 256 * 1024
    var subjectOctets = 500
    var links = 500
    var list = ListLimits()
    /// How long one list may take to arrive and be stored.
    var uploadDeadline = Duration.seconds(900)
    /// Lists of one district that are taken in at the same time by one process.
    var uploadsPerDistrict = 2
    /// Whether text messages can be sent.
    var hasSMS = false
    /// How long an order waits for a second person's approval.
    var approvalWithin = Duration.seconds(86400)

    init() {}

    init(_ settings: Settings) {
        blastOctets = settings[Self.blastOctetsSetting]
        list.octets = settings[Self.listOctetsSetting]
        list.rows = settings[Self.listRowsSetting]
        uploadDeadline = settings[Self.uploadDeadlineSetting]
        approvalWithin = settings[Self.approvalWithinSetting]
    }

    /// To be declared by the program.
    static let settings: [any DeclaredSetting] = [
        blastOctetsSetting, listOctetsSetting, listRowsSetting, uploadDeadlineSetting, approvalWithinSetting,
    ]

    private static let blastOctetsSetting = Setting.int(
        "sender.blast.octets", default: 1024 * 1024, in: 1024...16 * 1024 * 1024,
        doc: "largest body of a request that makes a blast")
    private static let listOctetsSetting = Setting.int(
        "sender.list.octets", default: 512 * 1024 * 1024, in: 1024...4 * 1024 * 1024 * 1024,
        doc: "largest list of recipients, in octets")
    private static let listRowsSetting = Setting.int(
        "sender.list.rows", default: 2_000_000, in: 1...10_000_000, doc: "largest list of recipients, in recipients")
    private static let approvalWithinSetting = Setting.duration(
        "sender.approval.within", default: .seconds(86400), in: .seconds(1) ... .seconds(30 * 86400),
        doc: "how long an order waits for a second person's approval before it is cancelled")
    private static let uploadDeadlineSetting = Setting.duration(
        "sender.list.deadline", default: .seconds(900), in: .seconds(1) ... .seconds(7200),
        doc: "time that a list may take to arrive and be stored")
}
