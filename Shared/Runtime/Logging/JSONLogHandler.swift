public import Logging

/// Writes every record as one line of JSON: `ts` (RFC 3339, UTC, milliseconds), `level`, `service`, `message`, then the
/// metadata as members of their own, `error` last.
///
/// Nested metadata is flattened with dots. A metadata key that is one of ours gets the prefix `metadata.`. A text longer
/// than 4 KiB is cut. Records carry ids, never e-mail addresses or telephone numbers, at `info` and above: that is the
/// callers' duty, and the reason why nothing here logs a payload.
public struct JSONLogHandler: LogHandler {
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?
    public var logLevel: Logger.Level
    private let service: String
    private let sink: LogSink

    private static let ownKeys: Set<String> = ["ts", "level", "service", "message", "error"]
    private static let frameworkKeys = [
        "hb.request.id": "request.id", "sl-service": "unit", "sl-services": "units", "sl-error": "cause",
        "sl-signal": "signal", "sl-gracefulShutdownSignals": "signals", "sl-cancellationSignals": "signals.cancel",
    ]
    private static let maximumText = 4096

    public init(service: String, logLevel: Logger.Level = .info, sink: LogSink = .standardError) {
        self.service = service
        self.logLevel = logLevel
        self.sink = sink
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        sink.write(line(for: event, at: WallClock.nowMicroseconds()))
    }

    func line(for event: LogEvent, at microseconds: Int64) -> [UInt8] {
        var json = JSONWriter()
        json.member("ts", WallClock.rfc3339(microseconds: microseconds))
        json.member("level", event.level.rawValue)
        json.member("service", service)
        json.member("message", Self.bounded(event.message.description))
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, newer in newer } }
        if let own = event.metadata { all.merge(own) { _, newer in newer } }
        var members: [(String, Logger.MetadataValue)] = []
        for (key, value) in all { Self.flatten(Self.frameworkKeys[key] ?? key, value, into: &members) }
        members.sort { $0.0 < $1.0 }
        var written = ""
        for (key, value) in members where key != written {
            Self.write(key, value, into: &json)
            written = key
        }
        if let error = event.error { json.member("error", Self.bounded(String(describing: error))) }
        var bytes = json.finish()
        bytes.append(0x0A)
        return bytes
    }

    private static func flatten(
        _ key: String, _ value: Logger.MetadataValue, into members: inout [(String, Logger.MetadataValue)]
    ) {
        if case .dictionary(let nested) = value {
            for (name, inner) in nested { flatten(key + "." + name, inner, into: &members) }
        } else {
            members.append((ownKeys.contains(key) ? "metadata." + key : key, value))
        }
    }

    private static func write(_ key: String, _ value: Logger.MetadataValue, into json: inout JSONWriter) {
        switch value {
        case .stringConvertible(let number as Int): json.member(key, number)
        case .stringConvertible(let number as Int64): json.member(key, Int(number))
        case .stringConvertible(let number as Double): json.member(key, number)
        case .stringConvertible(let truth as Bool): json.member(key, truth)
        case .array(let items):
            json.member(key, json: JSONWriter.array(items.prefix(100).map { JSONWriter.text(bounded($0.description)) }))
        default: json.member(key, bounded(value.description))
        }
    }

    private static func bounded(_ text: String) -> String {
        guard text.utf8.count > maximumText else { return text }
        return String(decoding: text.utf8.prefix(maximumText), as: UTF8.self) + "…"
    }
}
