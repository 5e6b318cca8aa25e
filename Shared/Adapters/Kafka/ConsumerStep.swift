/// What one turn of a consumer brought.
///
/// The caller finishes a step before it asks for the next one. That is the whole protocol: a revocation can then
/// never overtake records that are still being worked on.
public enum ConsumerStep: Sendable {
    /// At least one record, per partition in offset order.
    case records([ConsumerRecord])
    /// The group gave this member these partitions, replacing all it had. Answer with ``KafkaConsumer/assign(_:)``;
    /// nothing is fetched before.
    case assigned([TopicPartition])
    /// The group takes these partitions away. Answer with ``KafkaConsumer/unassign()``; the group waits for it.
    case revoked([TopicPartition])
    /// The broker does not hold the offset that was asked for: it lies below what retention left or beyond the end.
    /// The partition delivers nothing until it is assigned again with an offset that exists.
    case offsetOutOfRange(TopicPartition)
    /// Everything up to `nextOffset` has been handed out. Needs `enablePartitionEOF`.
    case endOfPartition(TopicPartition, nextOffset: Int64)
    /// Nothing happened within the wait.
    case idle
}

/// Where reading a partition starts.
public enum StartOffset: Sendable, Hashable {
    /// Exactly here; reported as ``ConsumerStep/offsetOutOfRange(_:)`` where the broker does not have it.
    case offset(Int64)
    /// The group's committed offset, or the beginning where nothing was ever committed.
    case committed
    /// The oldest record the broker still holds.
    case beginning
    /// Behind the newest record, as the broker's ListOffsets answers it. The local development broker answers wrongly
    /// here; nothing correctness depends on may use it.
    case end
}
