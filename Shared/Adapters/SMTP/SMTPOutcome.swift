public import Mail

/// Whose message to whom, on the wire level. One recipient, so that one refusal or one doubt concerns one person.
public struct SMTPEnvelope: Sendable {
    /// The return path; empty for none (`<>`).
    public let sender: String
    public let recipient: String
    /// What a delivery status notification quotes back to us (RFC 3461 ENVID): printable ASCII, at most 100 octets once
    /// encoded. Nil asks for none.
    public let envelopeID: String?

    public init(sender: String, recipient: String, envelopeID: String? = nil) {
        self.sender = sender
        self.recipient = recipient
        self.envelopeID = envelopeID
    }
}

/// What is known about a message after a delivery attempt.
public enum SMTPOutcome: Equatable, Sendable {
    public typealias Stage = SMTPStage

    /// The server took responsibility.
    case accepted(SMTPReply)
    /// The server refused for good (5xx). `SMTPReply.isLocal` marks the refusals our own side made beforehand because
    /// the server cannot take the message; nothing was sent then.
    case rejected(SMTPReply, stage: Stage)
    /// Not sent, provably: refused for now (4xx), or the connection, the time or the deadline ended before the final
    /// dot was handed to the network.
    case deferred(SMTPReply?, stage: Stage, reason: String)
    /// The final dot was handed to the network, at least in part, and no usable reply came. The message may have been
    /// accepted; sending it again may deliver it twice.
    case inDoubt(reason: String)
}
