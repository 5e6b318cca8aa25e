/// Every key that any Rollcall program reads.
///
/// The programs share one environment and one configuration file, and each must tell another program's key from a
/// mistyped one. A program that declares a key not listed here refuses to start.
public enum KnownKeys {
    public static let all: Set<String> = Set(common + postgresRoles + programs)

    /// Variables with our prefix that the local stack or the operator's tool uses and that are no settings.
    public static let variablesWithoutKey: Set<String> = [
        "ROLLCALL_STATE", "ROLLCALL_CONFIG", "ROLLCALL_API_KEY", "ROLLCALL_SENDER_URL", "ROLLCALL_REPORT_URL",
        "ROLLCALL_TEST_STATE",
    ]

    private static let common = [
        "kafka.bootstrap", "kafka.client.overrides", "postgres.host", "postgres.port", "postgres.database",
        "postgres.password", "admin.listen", "log.level", "shutdown.grace", "fault.point",
    ]

    /// `postgres.<role>.user` and `postgres.<role>.password`, one pair per role.
    private static let postgresRoles = PostgresRole.allCases.flatMap { role in
        ["postgres.\(role.rawValue).user", "postgres.\(role.rawValue).password"]
    }

    private static let programs = [
        "public.url", "tokens.keys",
        "sender.listen", "sender.chunk.size", "sender.window", "sender.retry.schedule", "sender.indoubt.after",
        "sender.blast.octets", "sender.list.octets", "sender.list.rows", "sender.list.deadline",
        "sender.lease", "sender.guard.freshness", "sender.emergency.patience", "sender.bounce.domain",
        "sender.breaker.share", "sender.breaker.after", "sender.stall.after", "sender.approval.within",
        "sender.result.within", "sender.rates",
        "smtp.host", "smtp.port", "smtp.connections", "smtp.connection.messages",
        "smtp.reply.timeout", "smtp.dot.deadline", "smtp.helo", "smtp.relays",
        "smtp.tls", "smtp.tls.ca.file", "smtp.tls.name", "smtp.tls.verify",
        "smtp.user", "smtp.password", "smtp.password.file", "smtp.auth.cleartext",
        "sender.email.via",
        "ses.region", "ses.endpoint", "ses.access.key", "ses.secret.key", "ses.secret.key.file", "ses.session.token",
        "ses.configuration.set", "ses.feedback.forwarding", "ses.connections", "ses.weight", "ses.tls.ca.file",
        "sms.endpoint", "sms.account", "sms.token", "sms.token.file", "sms.from", "sms.service",
        "sms.status.callback", "sms.connections", "sms.tls.ca.file",
        "ingester.listen", "webhook.secrets", "tracking.quiet.window",
        "report.listen", "report.session.secret",
        "projector.batch.max", "projector.projection", "projector.tail.deadline", "projector.cluster.check",
        "projector.zombie.horizon", "projector.tidy.interval", "projector.progress.sweep",
        "projector.source.partitions",
        "guard.database.connections", "guard.publish.interval", "guard.cluster.check", "guard.watch.interval",
        "guard.progress.interval", "guard.soft.bounces", "guard.soft.window",
    ]
}

/// Who logs in to PostgreSQL. Every service has a role of its own, so that grants keep one writer per table; the sender's
/// two halves have one each.
public enum PostgresRole: String, Sendable, CaseIterable {
    case admin, intake, dispatch, ingester, projector, `guard`, report
}
