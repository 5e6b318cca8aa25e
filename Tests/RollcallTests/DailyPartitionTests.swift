import Postgres
import TestKit
import Testing

/// The tables that have one partition a day.
@Suite(.timeLimit(.minutes(10))) struct `Partitions of a day` {
    @Test func `are made while statements on their tables are under way, and have all that their table has`()
        async throws
    {
        let database = try await LocalStack.shared().database("daily")
        let busy = PostgresConnection(database.owner, name: "busy")
        let janitor = PostgresConnection(database.owner, name: "janitor")
        try await busy.connect()
        try await janitor.connect()
        try await busy.execute(script: "BEGIN")
        for row in try await busy.query("SELECT name::text FROM daily_table") {
            let table = try row.string("name")
            try await busy.execute(script: "LOCK TABLE \(table) IN ROW EXCLUSIVE MODE")
        }
        try await janitor.execute(script: "SET lock_timeout = '10s'")
        let made = try await janitor.query("SELECT ensure_partitions('2024-06-10', '2024-06-11') AS n")
        try await busy.execute(script: "COMMIT")
        let complete = try await janitor.query(
            """
            SELECT t.name::text FROM daily_table t
              JOIN pg_class parent ON parent.oid = ('rollcall.' || t.name)::regclass
              JOIN pg_inherits i ON i.inhparent = parent.oid JOIN pg_class c ON c.oid = i.inhrelid
             WHERE c.relname LIKE '%_20240610'
               AND (SELECT count(*) FROM pg_index x WHERE x.indrelid = c.oid)
                   = (SELECT count(*) FROM pg_index x WHERE x.indrelid = parent.oid)
               AND (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal)
                   = (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = parent.oid AND NOT g.tgisinternal)
               AND (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.oid)
                   = (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = parent.oid)
            """)
        let tables = try await janitor.query("SELECT count(*) AS n FROM daily_table")
        #expect(try made[0].int("n") == 2 * tables[0].int("n"))
        #expect(try Int64(complete.count) == tables[0].int("n"))
        await busy.close()
        await janitor.close()
    }
}
