public import ArgumentParser
public import Contracts
public import Delivery

extension BlastID: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

extension ProjectionName: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
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
