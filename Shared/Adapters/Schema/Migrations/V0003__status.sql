-- Written by the projector. Intake inserts the first rows and counters, in the transaction that inserts the
-- recipients, and can never update them.

CREATE TABLE delivery_status (
    blast_id uuid NOT NULL,
    recipient_no int NOT NULL,
    district_id bigint NOT NULL,
    -- whom the district means, in its own words, for readers of the status topic; never an address
    person_ref text,
    -- the grow-only set of facts, by their bits
    facts bigint NOT NULL DEFAULT 1 CHECK (facts & 1 = 1),
    -- newest log record of this delivery: the head of its timeline
    part smallint,
    last_seq bigint,
    attempts int NOT NULL DEFAULT 0,
    last_attempt_at timestamptz,
    response text,
    response_at timestamptz,
    changed_at timestamptz,
    PRIMARY KEY (blast_id, recipient_no)
) PARTITION BY RANGE (blast_id);

-- What of a list's reference to a person goes to readers of the status topic: nothing that may be an address.
CREATE FUNCTION public_person_ref(person_ref text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT CASE WHEN length(person_ref) <= 128 AND strpos(person_ref, '@') = 0 THEN person_ref END $$;

CREATE FUNCTION refuse_lost_fact() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'delivery %/% would lose facts: % to %', OLD.blast_id, OLD.recipient_no, OLD.facts, NEW.facts
        USING ERRCODE = 'RC001', HINT = 'A status only moves forward: write facts | new.';
END $$;
CREATE TRIGGER facts_only_grow BEFORE UPDATE ON delivery_status
    FOR EACH ROW WHEN (OLD.facts & ~NEW.facts <> 0) EXECUTE FUNCTION refuse_lost_fact();
ALTER TABLE delivery_status ENABLE ALWAYS TRIGGER facts_only_grow;
-- Updates stay HOT: room on the page, and no index on a changing column.
INSERT INTO daily_table VALUES ('delivery_status', 'WITH (fillfactor = 60)', '{facts_only_grow}');
SELECT protect_tenant_table('delivery_status', '{rollcall_report}',
                            '{rollcall_projector,rollcall_dispatch,rollcall_ingester,rollcall_guard}');
CREATE POLICY intake_reads ON delivery_status FOR SELECT TO rollcall_intake USING (district_id = current_district());
CREATE POLICY intake_inserts ON delivery_status FOR INSERT TO rollcall_intake
    WITH CHECK (district_id = current_district() AND facts = 1 AND last_seq IS NULL);
-- A draft's list may be uploaded again; once sending has begun nothing is deleted, and no row with news ever.
CREATE POLICY intake_replaces_draft ON delivery_status FOR DELETE TO rollcall_intake
    USING (district_id = current_district() AND facts = 1 AND last_seq IS NULL
           AND EXISTS (SELECT FROM blast b WHERE b.blast_id = delivery_status.blast_id AND b.state = 'draft'));
GRANT SELECT, INSERT, DELETE ON delivery_status TO rollcall_intake;
GRANT SELECT, UPDATE ON delivery_status TO rollcall_projector;
GRANT SELECT ON delivery_status TO rollcall_report, rollcall_dispatch, rollcall_ingester, rollcall_guard;

-- Every record that changed a delivery, in the order of its partition: history, evidence and outbox in one.
CREATE TABLE delivery_log (
    blast_id uuid NOT NULL,
    part smallint NOT NULL,
    seq bigint NOT NULL,
    -- the delivery's previous record: its timeline is a chain
    prev_seq bigint,
    recipient_no int NOT NULL,
    district_id bigint NOT NULL,
    incarnation int NOT NULL,
    event_id text NOT NULL,
    source text NOT NULL,
    -- null when the record changes no status (an attempt, a changed response)
    fact smallint,
    -- the state after this record
    facts bigint NOT NULL,
    attempts int NOT NULL,
    last_attempt_at timestamptz,
    response text,
    changed_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- the broker's time of the event record
    recorded_at timestamptz NOT NULL,
    evidence text,
    PRIMARY KEY (blast_id, part, seq)
) PARTITION BY RANGE (blast_id);
INSERT INTO daily_table VALUES ('delivery_log');
SELECT protect_tenant_table('delivery_log', '{rollcall_report}', '{rollcall_projector,rollcall_guard}');
GRANT SELECT, INSERT ON delivery_log TO rollcall_projector;
GRANT SELECT ON delivery_log TO rollcall_report, rollcall_guard;

-- How many deliveries of a blast have exactly this set of facts. Rows of a part may be negative: only the sum over
-- parts is a number of deliveries. Part -1 is intake's.
CREATE TABLE blast_count (
    blast_id uuid NOT NULL,
    part smallint NOT NULL,
    facts bigint NOT NULL,
    district_id bigint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (blast_id, part, facts)
) WITH (fillfactor = 50);
SELECT protect_tenant_table('blast_count', '{rollcall_report}', '{rollcall_projector,rollcall_dispatch}');
CREATE POLICY intake_reads ON blast_count FOR SELECT TO rollcall_intake USING (district_id = current_district());
CREATE POLICY intake_inserts ON blast_count FOR INSERT TO rollcall_intake
    WITH CHECK (district_id = current_district() AND part = -1 AND facts = 1);
CREATE POLICY intake_replaces_draft ON blast_count FOR DELETE TO rollcall_intake
    USING (district_id = current_district()
           AND EXISTS (SELECT FROM blast b WHERE b.blast_id = blast_count.blast_id AND b.state = 'draft'));
GRANT SELECT, INSERT, DELETE ON blast_count TO rollcall_intake;
GRANT SELECT, INSERT, UPDATE ON blast_count TO rollcall_projector;
GRANT SELECT ON blast_count TO rollcall_report, rollcall_dispatch;

-- First entry of a delivery into a problem fact, so that the rare ones are found without a scan. Re-check on read.
CREATE TABLE delivery_problem (
    blast_id uuid NOT NULL,
    fact smallint NOT NULL,
    recipient_no int NOT NULL,
    district_id bigint NOT NULL,
    PRIMARY KEY (blast_id, fact, recipient_no)
) PARTITION BY RANGE (blast_id);
INSERT INTO daily_table VALUES ('delivery_problem');
SELECT protect_tenant_table('delivery_problem', '{rollcall_report}', '{rollcall_projector,rollcall_guard}');
GRANT SELECT, INSERT ON delivery_problem TO rollcall_projector;
GRANT SELECT ON delivery_problem TO rollcall_report, rollcall_guard;

-- The fence: one row per partition of a projection. Offsets live here; the broker's are advice.
CREATE TABLE projector_partition (
    projection text NOT NULL,
    topic text NOT NULL,
    part smallint NOT NULL,
    cluster_id text NOT NULL,
    -- rises when the event history restarts (a recreated topic, an emptied broker)
    incarnation int NOT NULL DEFAULT 1,
    -- everything kept has been published under this incarnation
    published_incarnation int NOT NULL DEFAULT 1,
    -- how far that publication is, while it goes on
    republished_blast uuid,
    epoch bigint NOT NULL DEFAULT 0,
    next_offset bigint NOT NULL DEFAULT 0,
    tail_event_id text,
    seq bigint NOT NULL DEFAULT 0,
    published_seq bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, topic, part),
    CHECK (published_seq <= seq)
) WITH (fillfactor = 20);
GRANT SELECT, INSERT, UPDATE ON projector_partition TO rollcall_projector;
GRANT SELECT ON projector_partition TO rollcall_dispatch, rollcall_ingester, rollcall_guard, rollcall_report;

-- Which log records a batch committed, so that a new owner finds what may not be published without a scan. Deleted
-- once published; a suspect batch, which an earlier owner may still publish late, is kept for the zombie horizon.
CREATE TABLE projector_batch (
    projection text NOT NULL,
    part smallint NOT NULL,
    seq_from bigint NOT NULL,
    seq_to bigint NOT NULL,
    blast_ids uuid[] NOT NULL,
    is_suspect boolean NOT NULL DEFAULT false,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, part, seq_to)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON projector_batch TO rollcall_projector;

-- Blasts whose expiry has been announced, and after how many restarts of the event history: one that may have emptied
-- the topic is a reason to announce again.
CREATE TABLE blast_expiry (
    projection text NOT NULL,
    blast_id uuid NOT NULL,
    restarts bigint NOT NULL,
    announced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, blast_id)
);
GRANT SELECT, INSERT, UPDATE ON blast_expiry TO rollcall_projector;

-- Every restart of the event history that was noticed.
CREATE TABLE projector_incident (
    projection text NOT NULL,
    part smallint NOT NULL,
    incarnation int NOT NULL,
    reason text NOT NULL,
    old_cluster_id text,
    new_cluster_id text,
    old_next_offset bigint NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, part, incarnation)
);
GRANT SELECT, INSERT ON projector_incident TO rollcall_projector;
GRANT SELECT ON projector_incident TO rollcall_report;

-- Records that name a delivery this database does not have, or no longer has; and records that cannot be read. Offsets
-- repeat in another history, so cluster_id also names the incarnation once it is above 1: `cluster/2`.
CREATE TABLE late_event (
    projection text NOT NULL,
    cluster_id text NOT NULL,
    topic text NOT NULL,
    part smallint NOT NULL,
    record_offset bigint NOT NULL,
    event_id text NOT NULL,
    subject text NOT NULL,
    fact smallint,
    value bytea,
    -- pairs of a name and its value in base64
    headers jsonb NOT NULL DEFAULT '[]',
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, cluster_id, topic, part, record_offset)
);
CREATE TABLE dead_letter (
    projection text NOT NULL,
    cluster_id text NOT NULL,
    topic text NOT NULL,
    part smallint NOT NULL,
    record_offset bigint NOT NULL,
    reason text NOT NULL,
    key bytea,
    value bytea,
    headers jsonb NOT NULL DEFAULT '[]',
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reported_at timestamptz,
    PRIMARY KEY (projection, cluster_id, topic, part, record_offset)
);
-- What is not yet on the dead-letter topic is looked for every second.
CREATE INDEX dead_letter_unreported ON dead_letter (part, parked_at) WHERE reported_at IS NULL;
-- Kept little longer than the event topic keeps its records.
CREATE INDEX dead_letter_age ON dead_letter (parked_at);
CREATE INDEX late_event_age ON late_event (seen_at);
GRANT SELECT, INSERT, DELETE ON late_event TO rollcall_projector;
GRANT SELECT, INSERT, UPDATE (reported_at), DELETE ON dead_letter TO rollcall_projector;

-- Parked records that an operator put back on their topic, by the id of what was parked. Written by the operator's tool,
-- which keeps them for a year.
CREATE TABLE parked_replay (
    id text PRIMARY KEY,
    actor text NOT NULL,
    replayed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- After a list of so many recipients was stored: fresh statistics for the tables of that day, when the list is a good part
-- of them. Plans made from the statistics of an empty table are several times slower. How many rows there are matters to
-- them, and how often a value occurs does not, so that a small sample is enough.
CREATE FUNCTION analyze_blast_tables(wanted uuid, recipients bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rollcall, pg_temp SET default_statistics_target = 10 AS $$
DECLARE part regclass;
BEGIN
    FOR part IN
        (SELECT tableoid::regclass FROM recipient WHERE blast_id = wanted LIMIT 1)
        UNION (SELECT tableoid::regclass FROM delivery_status WHERE blast_id = wanted LIMIT 1)
    LOOP
        IF (SELECT reltuples < 0 OR recipients * 10 >= reltuples FROM pg_class WHERE oid = part) THEN
            EXECUTE format('ANALYZE %s', part);
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION analyze_blast_tables FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analyze_blast_tables TO rollcall_intake;
