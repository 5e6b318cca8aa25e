internal import Dispatch
internal import Foundation
internal import Synchronization

/// Where log lines go: a bounded buffer emptied by a thread of its own, so that a slow reader of standard error never
/// holds up the work.
///
/// When the buffer is full, lines are dropped and their number is written as a line of its own as soon as there is room.
public final class LogSink: Sendable {
    /// The process's standard error.
    public static let standardError = LogSink { bytes in
        try? FileHandle.standardError.write(contentsOf: Data(bytes))
    }

    private struct State {
        var buffer: [UInt8] = []
        var dropped = 0
        var isWriting = false
    }

    private let state = Mutex(State())
    private let wake = DispatchSemaphore(value: 0)
    private let idle = DispatchSemaphore(value: 0)
    private let capacity: Int
    private let output: @Sendable ([UInt8]) -> Void

    public init(capacity: Int = 4 << 20, output: @escaping @Sendable ([UInt8]) -> Void) {
        self.capacity = capacity
        self.output = output
        let thread = Thread { [self] in self.loop() }
        thread.name = "log"
        thread.start()
    }

    /// Queues one line, which ends with a line feed. Never waits.
    public func write(_ line: [UInt8]) {
        let wasEmpty = state.withLock { state in
            guard state.buffer.count + line.count <= capacity else {
                state.dropped += 1
                return false
            }
            let wasEmpty = state.buffer.isEmpty
            state.buffer.append(contentsOf: line)
            return wasEmpty
        }
        if wasEmpty { wake.signal() }
    }

    /// Waits until everything queued so far is written, at most one second. Call it before the process exits.
    public func flush() {
        let deadline = ContinuousClock.now + .seconds(1)
        while ContinuousClock.now < deadline {
            if state.withLock({ $0.buffer.isEmpty && !$0.isWriting }) { return }
            wake.signal()
            _ = idle.wait(timeout: .now() + .milliseconds(20))
        }
    }

    private func loop() {
        while true {
            wake.wait()
            let (bytes, dropped) = state.withLock { state in
                defer {
                    state.buffer = []
                    state.dropped = 0
                    state.isWriting = true
                }
                return (state.buffer, state.dropped)
            }
            if !bytes.isEmpty { output(bytes) }
            if dropped > 0 { output(Self.notice(dropped: dropped)) }
            state.withLock { $0.isWriting = false }
            idle.signal()
        }
    }

    private static func notice(dropped: Int) -> [UInt8] {
        var json = JSONWriter()
        json.member("ts", WallClock.rfc3339(microseconds: WallClock.nowMicroseconds()))
        json.member("level", "warning")
        json.member("message", "log lines dropped because standard error is not read fast enough")
        json.member("dropped", dropped)
        return json.finish() + [0x0A]
    }
}
