/// One numbered step of the schema. Applied once, in order, and never edited after a release.
public struct Migration: Sendable {
    public let version: Int
    public let name: String
    public let sql: String

    init(_ version: Int, _ name: String, _ bytes: [UInt8]) {
        self.version = version
        self.name = name
        sql = String(decoding: bytes, as: UTF8.self)
    }

    /// Every migration this binary knows. `TidyTests` compares the list with the folder.
    public static let all: [Migration] = [
        Migration(1, "ground", PackageResources.V0001__ground_sql),
        Migration(2, "blasts", PackageResources.V0002__blasts_sql),
        Migration(3, "status", PackageResources.V0003__status_sql),
        Migration(4, "dispatch", PackageResources.V0004__dispatch_sql),
        Migration(5, "guard", PackageResources.V0005__guard_sql),
        Migration(6, "ingester_and_report", PackageResources.V0006__ingester_and_report_sql),
    ]
}
