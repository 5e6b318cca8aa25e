import Kafka
import Postgres

/// Why a command ends without having done what was asked, in plain words and as an exit code.
struct Failure: Error {
    static let refused: Int32 = 1
    static let unavailable: Int32 = 69
    static let notPermitted: Int32 = 77
    static let configuration: Int32 = 78

    let message: String
    let code: Int32

    init(_ message: String, code: Int32 = Self.refused) {
        self.message = message
        self.code = code
    }

    init(explaining error: any Error) {
        switch error {
        case let error as PostgresError where error.code == .connectionFailed || error.code == .connectionLost:
            self.init("PostgreSQL does not answer: \(error.message)", code: Self.unavailable)
        case let error as PostgresError:
            self.init("PostgreSQL refused: \(error.message)")
        case let error as KafkaError:
            self.init("Kafka: \(error.reason)", code: error.isRetriable ? Self.unavailable : Self.refused)
        default: self.init("\(error)")
        }
    }
}
