-- Written by the blacklist guard.

-- A chunk is screened once; a redelivered request re-publishes what stands here.
CREATE TABLE screened_chunk (
    blast_id uuid NOT NULL,
    chunk_no int NOT NULL,
    district_id bigint NOT NULL,
    class text NOT NULL,
    excluded int NOT NULL,
    screened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- facts of the excluded and the cleared chunk acknowledged by the broker
    reported_at timestamptz,
    -- the event history they were published into: sum(projector_partition.incarnation - 1) then
    reported_history bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (blast_id, chunk_no)
);
CREATE INDEX screened_chunk_unreported ON screened_chunk (blast_id) WHERE reported_at IS NULL;
SELECT protect_tenant_table('screened_chunk', '{}', '{rollcall_guard}');
GRANT SELECT, INSERT, UPDATE ON screened_chunk TO rollcall_guard;

-- Recipients left out, and why. Everyone else of a screened chunk is cleared.
CREATE TABLE decision (
    blast_id uuid NOT NULL,
    recipient_no int NOT NULL,
    district_id bigint NOT NULL,
    chunk_no int NOT NULL,
    fact smallint NOT NULL,
    rule text NOT NULL,
    detail text NOT NULL,
    original_blast_id uuid,
    original_recipient_no int,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (blast_id, recipient_no)
) PARTITION BY RANGE (blast_id);
INSERT INTO daily_table VALUES ('decision');
SELECT protect_tenant_table('decision', '{rollcall_report}', '{rollcall_guard,rollcall_dispatch}');
GRANT SELECT, INSERT ON decision TO rollcall_guard;
GRANT SELECT ON decision TO rollcall_dispatch, rollcall_report;

CREATE TABLE blacklist (
    district_id bigint NOT NULL REFERENCES district,
    address_hash bytea NOT NULL,
    address text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('bounce', 'complaint', 'invalid', 'manual')),
    active boolean NOT NULL DEFAULT true,
    causes int NOT NULL DEFAULT 1,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    origin_blast_id uuid,
    origin_recipient_no int,
    reset_at timestamptz,
    reset_by text,
    reset_reason text,
    -- rises with every change; the published record carries it
    version bigint NOT NULL DEFAULT 1,
    reported_at timestamptz,
    reported_history bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (district_id, address_hash)
);
CREATE INDEX blacklist_unreported ON blacklist (district_id) WHERE reported_at IS NULL;
SELECT protect_tenant_table('blacklist', '{rollcall_report}', '{rollcall_guard,rollcall_dispatch}');
GRANT SELECT, INSERT, UPDATE ON blacklist TO rollcall_guard;
GRANT SELECT ON blacklist TO rollcall_dispatch, rollcall_report;

-- What blacklisted an address. Unique, so that a repeated old event never blocks a reset address again.
CREATE TABLE blacklist_cause (
    district_id bigint NOT NULL,
    address_hash bytea NOT NULL,
    blast_id uuid NOT NULL,
    recipient_no int NOT NULL,
    fact smallint NOT NULL,
    event_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    evidence text,
    PRIMARY KEY (district_id, address_hash, blast_id, recipient_no, fact)
);
SELECT protect_tenant_table('blacklist_cause', '{rollcall_report}', '{rollcall_guard}');
GRANT SELECT, INSERT ON blacklist_cause TO rollcall_guard;
GRANT SELECT ON blacklist_cause TO rollcall_report;

-- Category '*' opts out of everything.
CREATE TABLE opt_out (
    district_id bigint NOT NULL REFERENCES district,
    address_hash bytea NOT NULL,
    category text NOT NULL DEFAULT '*',
    active boolean NOT NULL DEFAULT true,
    origin_blast_id uuid,
    origin_recipient_no int,
    event_id text,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (district_id, address_hash, category)
);
SELECT protect_tenant_table('opt_out', '{rollcall_report}', '{rollcall_guard,rollcall_dispatch}');
GRANT SELECT, INSERT, UPDATE ON opt_out TO rollcall_guard;
GRANT SELECT ON opt_out TO rollcall_dispatch, rollcall_report;

-- Until when the guard has learned everything of a partition, by the database clock. General sending stops when the
-- oldest of these is too old.
CREATE TABLE guard_progress (
    part smallint PRIMARY KEY,
    cluster_id text NOT NULL,
    next_offset bigint NOT NULL,
    caught_up_at timestamptz,
    -- restarts of the event history after which everything the projector has kept was learned:
    -- sum(projector_partition.incarnation - 1) then
    restarts_learned bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);
GRANT SELECT, INSERT, UPDATE, DELETE ON guard_progress TO rollcall_guard;
GRANT SELECT ON guard_progress TO rollcall_dispatch, rollcall_report;

-- Commands that were carried out.
CREATE TABLE guard_command (
    command_id uuid PRIMARY KEY,
    district_id bigint NOT NULL,
    kind text NOT NULL,
    outcome text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT protect_tenant_table('guard_command', '{rollcall_report}', '{rollcall_guard}');
GRANT SELECT, INSERT ON guard_command TO rollcall_guard;
GRANT SELECT ON guard_command TO rollcall_report;
