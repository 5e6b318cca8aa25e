internal import Foundation
public import ServiceLifecycle

/// Closes something when the process stops. Services stop in reverse order, so list it before those that use it.
public struct ClosingService: Service {
    private let close: @Sendable () async -> Void

    public init(_ close: @escaping @Sendable () async -> Void) { self.close = close }

    public func run() async throws {
        try? await gracefulShutdown()
        await close()
    }
}

/// Names this process among others of its kind, in lease and fence rows and in logs.
public enum InstanceName {
    public static let current =
        "\(ProcessInfo.processInfo.hostName)/\(ProcessInfo.processInfo.processIdentifier)/"
        + String(UInt32.random(in: .min ... .max), radix: 16)
}
