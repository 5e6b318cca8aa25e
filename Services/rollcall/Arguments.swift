public import ArgumentParser
public import Contracts
public import Delivery

extension BlastID: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

extension ProjectionName: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

/// How a blast reaches its recipients.
enum BlastChannels: String, CaseIterable, ExpressibleByArgument {
    case email, sms
    case both = "email,sms"

    init?(argument: String) {
        self.init(rawValue: argument.split(separator: ",").sorted().joined(separator: ","))
    }

    var names: [String] { rawValue.split(separator: ",").map(String.init) }
}

/// A point in time as a person writes it.
struct PointInTime: ExpressibleByArgument {
    let microseconds: Int64

    init?(argument: String) {
        guard let microseconds = Timestamp.microseconds(argument) else { return nil }
        self.microseconds = microseconds
    }

    var text: String { Timestamp.string(microseconds: microseconds) }
}

/// Who does what is recorded.
struct ActorOption: ParsableArguments {
    @Option(help: "Who does it, for the record; the default is you, as USER@HOST.") var actor: String?

    func validate() throws {
        guard actor?.isEmpty != true else { throw ValidationError("--actor says something.") }
    }

    var name: String { actor ?? Surroundings().actor }
}
