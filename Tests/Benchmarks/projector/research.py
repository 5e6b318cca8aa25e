"""The loop that measured what PostgreSQL can take when the design was made: no fold, no trigger, no row security, short
evidence, facts joined in SQL. The projector's own SQL does more; how much slower it may be is known from there."""
import random
import time
import uuid

import psycopg

import workload

UPDATE = """
WITH u AS (
    UPDATE delivery_status d SET facts = facts | 1::bigint << %s::int, version = version + 1, changed_at = now(),
           prev_seq = d.last_seq, last_seq = %s + e.o
      FROM unnest(%s::uuid[], %s::int[], %s::uuid[]) WITH ORDINALITY e(b, r, ev, o)
     WHERE d.blast_id = e.b AND d.recipient_no = e.r AND d.facts | 1::bigint << %s::int <> d.facts
    RETURNING e.b, e.r, e.ev, d.facts, d.version, d.prev_seq, d.last_seq
), o AS (
    INSERT INTO log SELECT 0, last_seq, prev_seq, b, r, ev, %s, facts, version, now(), 'ses',
                           '250 2.0.0 OK queued as 12345' FROM u
), c AS (
    INSERT INTO blast_count SELECT b, 0, facts, count(*) FROM u GROUP BY 1, 3 ORDER BY 1, 3
        ON CONFLICT (blast_id, part, facts) DO UPDATE SET n = blast_count.n + excluded.n
) SELECT r, facts, version FROM u"""


def make(connection, blasts, recipients):
    execute = connection.execute
    execute("DROP SCHEMA IF EXISTS research CASCADE")
    execute("CREATE SCHEMA research")
    execute("SET search_path = research")
    execute("CREATE TABLE delivery_status (blast_id uuid NOT NULL, recipient_no int NOT NULL,"
            " facts bigint NOT NULL DEFAULT 1, version int NOT NULL DEFAULT 0, last_seq bigint, prev_seq bigint,"
            " changed_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (blast_id, recipient_no))"
            " PARTITION BY RANGE (blast_id)")
    execute("CREATE TABLE fence (part int PRIMARY KEY, epoch bigint DEFAULT 0, next_offset bigint DEFAULT 0,"
            " seq bigint DEFAULT 0)")
    execute("INSERT INTO fence (part) VALUES (0)")
    execute("CREATE TABLE blast_count (blast_id uuid, part int, facts bigint, n bigint,"
            " PRIMARY KEY (blast_id, part, facts))")
    execute("CREATE TABLE log (part int NOT NULL, seq bigint NOT NULL, prev_seq bigint, blast_id uuid NOT NULL,"
            " recipient_no int NOT NULL, event_id uuid NOT NULL, fact smallint NOT NULL, facts bigint NOT NULL,"
            " version int NOT NULL, occurred_at timestamptz NOT NULL, source text, detail text,"
            " PRIMARY KEY (blast_id, part, seq)) PARTITION BY RANGE (blast_id)")
    first = (blasts[0].int >> 80) // 86_400_000 - 26
    for day in range(first, first + 62):
        bounds = tuple(str(uuid.UUID(int=at * 86_400_000 << 80)) for at in (day, day + 1))
        for table, storage in (("delivery_status", "WITH (fillfactor = 60)"), ("log", "")):
            execute(f"CREATE TABLE {table}_{day} PARTITION OF {table} FOR VALUES FROM ('{bounds[0]}')"
                    f" TO ('{bounds[1]}') {storage}")
    with connection.cursor().copy("COPY delivery_status (blast_id, recipient_no) FROM STDIN") as copy:
        for recipient in range(recipients):
            copy.write_row((blasts[recipient % len(blasts)], recipient))
    execute("ANALYZE delivery_status")
    connection.commit()


def run(conninfo, batch, recipients):
    with psycopg.connect(conninfo) as connection:
        blasts = workload.blast_ids(int(time.time() // 86400 * 86_400_000))
        make(connection, blasts, recipients)
        order, total, spent = list(range(recipients)), 0, 0.0
        for fact in (30, 40, 50):
            random.Random(fact).shuffle(order)
            batches = [order[at: at + batch] for at in range(0, recipients, batch)]
            ready = [([blasts[each % len(blasts)] for each in members], members, [uuid.uuid4() for _ in members])
                     for members in batches]
            began = time.monotonic()
            for of, members, events in ready:
                seq = connection.execute("UPDATE fence SET next_offset = next_offset + %s WHERE part = 0 AND epoch = 0"
                                         " RETURNING seq", (len(members),), prepare=True).fetchone()[0]
                total += len(connection.execute(UPDATE, (fact, seq, of, members, events, fact, fact),
                                                prepare=True).fetchall())
                connection.execute("UPDATE fence SET seq = seq + %s WHERE part = 0", (len(members),), prepare=True)
                connection.commit()
            spent += time.monotonic() - began
        connection.execute("DROP SCHEMA research CASCADE")
    return {"rate": total / spent, "seconds": spent, "events": total, "parts": {}, "memory": []}
