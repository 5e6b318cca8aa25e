/// Everything that is wrong with a program's configuration, all at once.
///
/// The description is meant for the operator's terminal: one line per complaint, each with the key, where the value came
/// from, the value (never a secret's) and what is expected instead.
public struct ConfigurationError: Error, Sendable, CustomStringConvertible {
    /// One thing that is wrong.
    public struct Complaint: Sendable, Hashable, CustomStringConvertible {
        /// The key or environment variable concerned, or the file's name.
        public let subject: String
        public let explanation: String

        public init(subject: String, explanation: String) {
            self.subject = subject
            self.explanation = explanation
        }

        public var description: String { "\(subject): \(explanation)" }
    }

    public let complaints: [Complaint]

    public init(_ complaints: [Complaint]) {
        self.complaints = complaints
    }

    public init(subject: String, explanation: String) {
        complaints = [Complaint(subject: subject, explanation: explanation)]
    }

    public var description: String {
        complaints.map { "  " + $0.description }.joined(separator: "\n")
    }
}
