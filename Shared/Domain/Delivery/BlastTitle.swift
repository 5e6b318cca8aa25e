/// The name of a blast's document: `Email Blast :: ` and its subject (I-01), for every blast that goes by mail.
public struct BlastTitle: Sendable, Hashable {
    /// What stands before the subject.
    public let kind: String
    public let subject: String

    /// - Parameter channels: by their names, `email` and `sms`.
    public init(_ subject: String, channels: [String]) {
        kind = channels == ["sms"] ? "Text Message Blast" : "Email Blast"
        self.subject = subject
    }

    public var text: String { "\(kind) :: \(subject)" }
}
