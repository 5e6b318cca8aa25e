-- Written by the sender's dispatch.

-- One row per running sender process. A lease that has run out is never renewed: the process takes a new token.
CREATE TABLE sender_lease (
    token uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    instance text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON sender_lease TO rollcall_dispatch;

-- One row per try of one delivery, inserted at WIRE just before hand-over, or when the last check refuses it.
CREATE TABLE attempt (
    blast_id uuid NOT NULL,
    recipient_no int NOT NULL,
    attempt_no int NOT NULL CHECK (attempt_no > 0),
    district_id bigint NOT NULL,
    chunk_no int NOT NULL,
    state text NOT NULL CHECK (state IN ('wire', 'accepted', 'rejected', 'deferred', 'in_doubt', 'resolved_sent',
                                         'resolved_not_sent', 'unknown', 'resend', 'stopped', 'requeued',
                                         'timed_out')),
    -- the fact this attempt ended in, to be reported; null while on the wire or without news
    fact smallint,
    lease_token uuid,
    address_hash bytea NOT NULL,
    content_hash bytea,
    provider text,
    smtp_code smallint,
    enhanced_code text,
    reply text,
    wire_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,
    -- when the next attempt may begin; null once taken or when none follows
    next_at timestamptz,
    -- when its fact was published, or taken on by a row of attempt_report
    reported_at timestamptz,
    PRIMARY KEY (blast_id, recipient_no, attempt_no)
) PARTITION BY RANGE (blast_id);
CREATE UNIQUE INDEX attempt_one_hand_over ON attempt (blast_id, recipient_no)
    WHERE state IN ('wire', 'in_doubt', 'accepted', 'resolved_sent');
CREATE INDEX attempt_unreported ON attempt (blast_id, recipient_no) WHERE fact IS NOT NULL AND reported_at IS NULL;
CREATE INDEX attempt_due ON attempt (blast_id, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX attempt_open ON attempt (blast_id, wire_at) WHERE state IN ('wire', 'in_doubt');
CREATE INDEX attempt_unknown ON attempt (blast_id, recipient_no) WHERE state = 'unknown';
INSERT INTO daily_table (name, named_by) VALUES ('attempt', 'rollcall_dispatch');
SELECT protect_tenant_table('attempt', '{rollcall_report}', '{rollcall_dispatch}');
GRANT SELECT, INSERT, UPDATE ON attempt TO rollcall_dispatch;
GRANT SELECT ON attempt TO rollcall_report;

-- Outcomes of one commit whose facts their sender publishes at once, from memory. The row goes when the broker has them;
-- one that stays was left behind, and its attempts become unreported.
CREATE TABLE attempt_report (
    report_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    blast_ids uuid[] NOT NULL,
    recipient_nos int[] NOT NULL,
    attempt_nos int[] NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON attempt_report TO rollcall_dispatch;

-- What operators found out about attempts in doubt, written with the operator's tool. The sender applies a row while the
-- attempt is undecided; the attempt says what came of it.
CREATE TABLE doubt_settlement (
    blast_id uuid NOT NULL,
    recipient_no int NOT NULL,
    attempt_no int NOT NULL,
    was_sent boolean NOT NULL,
    reason text NOT NULL CHECK (reason <> '' AND length(reason) <= 400),
    actor text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (blast_id, recipient_no, attempt_no)
);
GRANT SELECT ON doubt_settlement TO rollcall_dispatch;

-- How fast all senders together may hand over: '*' for everything, 'relay:' and a name for a relay, else a receiving
-- domain. No row: as fast as it comes.
CREATE TABLE send_rate (
    scope text PRIMARY KEY,
    per_second double precision NOT NULL CHECK (per_second >= 1),
    -- what it rises by when nothing is refused
    step double precision NOT NULL,
    -- never more than this; null for a domain that only asked for less
    ceiling double precision,
    -- the second that is being used up, and how much of it is
    slice timestamptz NOT NULL DEFAULT '-infinity',
    taken int NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 20);
GRANT SELECT, INSERT, UPDATE, DELETE ON send_rate TO rollcall_dispatch;

-- Who hands over, or handed over, this content to this address (I-14, K-02): one row per content and address. Taken in
-- the statement that inserts the attempt, gone with the answer that the message was not taken; which of the two it is,
-- the attempt says.
CREATE TABLE content_claim (
    district_id bigint NOT NULL,
    address_hash bytea NOT NULL,
    content_hash bytea NOT NULL,
    blast_id uuid NOT NULL,
    recipient_no int NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (district_id, address_hash, content_hash)
);
SELECT protect_tenant_table('content_claim', '{}', '{rollcall_dispatch,rollcall_guard}');
GRANT SELECT, INSERT, UPDATE, DELETE ON content_claim TO rollcall_dispatch;
GRANT SELECT ON content_claim TO rollcall_guard;
-- When the holder of a claim handed over; null while it is on the wire, the time of the claim when nothing is left of
-- its attempts. What was found out later went out at the latest when the longest smtp.dot.deadline ended.
-- In plpgsql, which plans it once per session and not in every statement that meets a duplicate.
CREATE FUNCTION handed_over_at(holder_blast uuid, holder_no int, claimed_at timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = rollcall, pg_temp AS $$ BEGIN RETURN (
    SELECT CASE WHEN bool_or(a.state = 'wire') THEN NULL
                ELSE coalesce(max(CASE WHEN a.state IN ('accepted', 'in_doubt') THEN a.settled_at
                                       ELSE a.wire_at + interval '5 minutes' END), claimed_at) END
      FROM attempt a
     WHERE a.blast_id = holder_blast AND a.recipient_no = holder_no
       AND a.state IN ('wire', 'accepted', 'in_doubt', 'resolved_sent', 'unknown', 'resend')
); END $$;
REVOKE ALL ON FUNCTION handed_over_at FROM PUBLIC;
GRANT EXECUTE ON FUNCTION handed_over_at TO rollcall_dispatch, rollcall_guard;
