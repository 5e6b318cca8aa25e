/// A service's command line: few options, because everything else is configuration.
struct ProgramArguments: Equatable {
    var file: String?
    var printsConfiguration = false
    var printsVersion = false
    var printsHelp = false

    struct UsageError: Error, Equatable {
        let explanation: String
    }

    init(_ arguments: [String]) throws(UsageError) {
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            switch argument {
            case "--print-config": printsConfiguration = true
            case "--version": printsVersion = true
            case "--help", "-h": printsHelp = true
            case "--config":
                guard let path = rest.popFirst() else { throw UsageError(explanation: "--config needs a file") }
                file = path
            case _ where argument.hasPrefix("--config="):
                file = String(argument.dropFirst("--config=".count))
            default: throw UsageError(explanation: "unknown argument \(argument)")
            }
        }
        if file?.isEmpty == true { throw UsageError(explanation: "--config needs a file") }
    }
}
