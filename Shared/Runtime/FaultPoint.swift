internal import Glibc
internal import Synchronization

/// Places at which a drill can kill the process, between two steps that a crash must not tear apart.
///
/// `fault.point=projector.after-commit` kills the process with SIGKILL the first time that point is reached,
/// `projector.after-commit:3` the third time. Every build carries them, so that the binary under drill is the binary in
/// production; an unarmed point costs one atomic load. `--print-config` warns when one is armed.
public enum FaultPoint {
    /// Every point there is. `<program>.<moment>`.
    public static let names: [String] = [
        "sender.after-claim", "sender.after-wire", "sender.after-mail", "sender.after-rcpt", "sender.in-data",
        "sender.before-dot", "sender.after-dot", "sender.after-reply", "sender.before-publish",
        "sender.after-publish", "sender.in-drain",
        "guard.after-screen", "guard.after-publish",
        "ingester.after-ack",
        "projector.before-commit", "projector.after-commit", "projector.after-publish",
    ]

    private struct Armed {
        let name: String
        var remaining: Int
    }

    private static let isArmed = Atomic<Bool>(false)
    private static let armed = Mutex<Armed?>(nil)

    /// Kills the process here if this point is the armed one and its turn has come; otherwise does nothing.
    public static func reach(_ name: StaticString) {
        guard isArmed.load(ordering: .relaxed) else { return }
        let isHere = armed.withLock { armed in
            guard armed?.name == name.description else { return false }
            armed?.remaining -= 1
            return armed?.remaining == 0
        }
        if isHere { kill(getpid(), SIGKILL) }
    }

    /// Arms the point a checked `fault.point` value names.
    static func arm(_ text: String) {
        guard let (name, count) = parse(text) else { return }
        armed.withLock { $0 = Armed(name: name, remaining: count) }
        isArmed.store(true, ordering: .releasing)
    }

    static func parse(_ text: String) -> (name: String, count: Int)? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard let name = parts.first.map(String.init), names.contains(name), parts.count <= 2 else { return nil }
        guard parts.count == 2 else { return (name, 1) }
        guard let count = Int(parts[1]), count > 0 else { return nil }
        return (name, count)
    }
}

extension Setting where Value == String? {
    static var faultPoint: Setting<String?> {
        Setting(
            "fault.point", default: .some(nil),
            expectation: "one of \(FaultPoint.names.joined(separator: ", ")), with :N for the N-th time",
            documentation: "drills only: where the process kills itself",
            parse: { raw in
                guard case .text(let text) = raw, FaultPoint.parse(text) != nil else { return nil }
                return text
            }, show: { $0 ?? "(none)" })
    }
}
