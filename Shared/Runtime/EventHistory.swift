/// Which telling of the event history it is.
///
/// The projector counts restarts of each partition (an emptied broker, a recreated topic); the sum rises whenever any of
/// them restarts and stays when a partition is read for the first time. Rows keep it as the history they were published
/// into, and whoever published something compares it to know that the topics may have lost it.
public enum EventHistory {
    /// One row with the column `history`; 0 before the first restart.
    public static let read = """
        SELECT coalesce(sum(incarnation - 1), 0)::bigint AS history FROM projector_partition
        """
}
