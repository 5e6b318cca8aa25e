public import Kafka
public import Postgres

extension Settings {
    /// The Kafka client's configuration from the common settings.
    public func kafka(clientID: String) -> KafkaConfiguration {
        KafkaConfiguration(
            bootstrapServers: self[CommonSettings.kafkaBootstrap], clientID: clientID,
            overrides: self[CommonSettings.kafkaOverrides])
    }

    /// The PostgreSQL configuration of one role. The program must have been declared with that role.
    public func postgres(_ role: PostgresRole, applicationName: String) -> PostgresConfiguration {
        PostgresConfiguration(
            host: self[CommonSettings.postgresHost], port: self[CommonSettings.postgresPort],
            database: self[CommonSettings.postgresDatabase], user: self[CommonSettings.postgresUser(role)],
            password: self[CommonSettings.postgresPassword(role)] ?? self[CommonSettings.postgresPassword] ?? "",
            applicationName: applicationName)
    }
}

enum DependencyErrors {
    /// The description of an error whose type promises not to carry payloads or parameters; nil for any other.
    static func safeDescription(of error: any Error) -> String? {
        switch error {
        case let error as PostgresError: String(describing: error)
        case let error as KafkaError: String(describing: error)
        default: nil
        }
    }
}
