import Delivery
import Runtime

/// Recipients of a chunk that are looked at together.
struct ChunkWindow: Sendable {
    let document: BlastDocument
    let recipients: [Recipient]
    /// The number of the last of them.
    let last: Int32
    /// Their messages in the same order; nil while some might not go now.
    var messages: [Prepared]?
}

extension Dispatcher {
    /// A window whose messages have more octets together is not followed by one that is composed in advance.
    static let mostInAdvance = 4 << 20
    /// How many messages are composed without a pause for what is on the wire.
    private static let slice = 5

    /// The next recipients of a chunk; nil when there are none.
    ///
    /// - Parameter composed: with their messages, unless something may keep them back just now. So a window is composed
    ///   while the one before it waits for slots and for the database.
    func window(of chunk: LeasedChunk, from first: Int32, composed: Bool = true) async throws -> ChunkWindow? {
        let recipients = try await queue.recipients(of: chunk, from: first, limit: configuration.window)
        guard let last = recipients.last else { return nil }
        guard let document = try await documents.document(chunk.blast) else { throw Interruption.notSending }
        var window = ChunkWindow(document: document, recipients: recipients, last: last.number)
        let isFree =
            !rates.areLimited && slots.channels.allSatisfy { relays.pauseNeeded(for: $0) == nil }
            && (chunk.isEmergency || slots.crowded.isEmpty)
        if composed, isFree { window.messages = await compose(recipients, of: chunk, document) }
        return window
    }

    static func octets(of messages: [Prepared]) -> Int {
        messages.reduce(0) { $0 + ($1.message?.octets.count ?? 0) }
    }

    func compose(_ recipients: [Recipient], of chunk: LeasedChunk, _ document: BlastDocument) async -> [Prepared] {
        let now = WallClock.nowMicroseconds() / 1_000_000
        var messages: [Prepared] = []
        messages.reserveCapacity(recipients.count)
        var rest = recipients[...]
        while !rest.isEmpty {
            messages += ThreadClock.charge(metrics.composing) {
                rest.prefix(Self.slice).map { recipient in
                    Prepared(
                        composer.compose(recipient, of: document, unixSeconds: now), recipient: recipient, attempt: 1,
                        chunk: chunk.number, deferrals: 0, isResend: false)
                }
            }
            rest = rest.dropFirst(Self.slice)
            await Task.yield()
        }
        return messages
    }
}
