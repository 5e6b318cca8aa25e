import Foundation
import NIOCore
import NIOPosix
import Synchronization

/// The durable record of what this server took responsibility for: one JSON line per message.
///
/// A line is on the disk before `record` completes. Messages that arrive while a write is under way share the next
/// write and its one fsync.
final class Witness: Sendable {
    private struct State {
        var lines: [UInt8] = []
        var promises: [EventLoopPromise<Void>] = []
        var isWriting = false
        var failure: (any Error)?
    }

    private let file: FileHandle?
    private let thread = NIOThreadPool(numberOfThreads: 1)
    private let state = Mutex(State())

    init(path: String?) throws {
        if let path {
            if !FileManager.default.fileExists(atPath: path) {
                guard FileManager.default.createFile(atPath: path, contents: nil) else {
                    throw SimulatorFault("cannot create the witness file \(path)")
                }
            }
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            try file.seekToEnd()
            self.file = file
        } else {
            file = nil
        }
        thread.start()
    }

    func record(_ line: String, on eventLoop: any EventLoop) -> EventLoopFuture<Void> {
        guard file != nil else { return eventLoop.makeSucceededVoidFuture() }
        let promise = eventLoop.makePromise(of: Void.self)
        let (startsWriting, failure) = state.withLock { state -> (Bool, (any Error)?) in
            if let failure = state.failure { return (false, failure) }
            state.lines += Array(line.utf8)
            state.promises.append(promise)
            defer { state.isWriting = true }
            return (!state.isWriting, nil)
        }
        if let failure { promise.fail(failure) }
        if startsWriting { thread.submit { _ in self.write() } }
        return promise.futureResult
    }

    /// Waits for the lines given so far.
    func close() async throws {
        try await thread.shutdownGracefully()
        try file?.close()
    }

    private func write() {
        while true {
            let (lines, promises) = state.withLock { state -> ([UInt8], [EventLoopPromise<Void>]) in
                let taken = (state.lines, state.promises)
                state.lines = []
                state.promises = []
                state.isWriting = !taken.1.isEmpty
                return taken
            }
            if promises.isEmpty { return }
            do {
                try file?.write(contentsOf: Data(lines))
                try file?.synchronize()
                for promise in promises { promise.succeed(()) }
            } catch {
                state.withLock { $0.failure = error }
                for promise in promises { promise.fail(error) }
            }
        }
    }
}

/// A mistake in how the program was started, in words for whoever started it.
struct SimulatorFault: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
