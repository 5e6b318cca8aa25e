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
INSERT INTO daily_table (name, named_by) VALUES ('decision', 'rollcall_dispatch');
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

-- What the guard's rules say about a range of recipients. The first rule that applies decides; `rules` names all that
-- do. Writes nothing: the guard keeps the answer as decisions, and intake shows it before a blast is sent.
-- common_content: the hash of what everybody reads, null when messages differ between recipients.
-- Each list is asked by its key once per recipient, whatever the planner knows about the tables: LIMIT and OFFSET keep
-- the subqueries from becoming joins over whole tables.
CREATE FUNCTION screen_recipients(wanted uuid, first_no int, last_no int, common_content bytea)
RETURNS TABLE (recipient_no int, district_id bigint, fact int, rule text, detail text, original_blast_id uuid,
               original_recipient_no int, rules text[])
LANGUAGE sql STABLE AS $$
    WITH clock AS MATERIALIZED (
        SELECT d.time_zone AS zone FROM blast b JOIN district d ON d.district_id = b.district_id WHERE b.blast_id = wanted
    ), looked_up AS MATERIALIZED (
        SELECT r.recipient_no, r.district_id, r.fault, r.fault_reason, b.category,
               refuses_consent(r.consent_refused, b.category, b.class) AS refused,
               b.class <> 'emergency' AND NOT coalesce(b.category = ANY (r.categories), true) AS unselected,
               left_blasts.category AS opted_out, left_blasts.occurred_at AS opted_out_at,
               blocked.reason AS blocked, blocked.last_seen AS blocked_at, earlier.recipient_no AS original_no,
               claim.blast_id AS claim_blast, claim.recipient_no AS claim_no, claim.at AS claim_at
          FROM blast b
          JOIN recipient r ON r.blast_id = b.blast_id AND r.recipient_no BETWEEN first_no AND last_no
          LEFT JOIN LATERAL (
               SELECT o.category, o.occurred_at FROM opt_out o
                WHERE b.class <> 'emergency' AND o.district_id = b.district_id
                  AND o.address_hash = r.address_hash AND o.active AND o.category IN ('*', b.category)
                ORDER BY o.category LIMIT 1) left_blasts ON true
          LEFT JOIN LATERAL (
               SELECT l.reason, l.last_seen FROM blacklist l
                WHERE l.district_id = b.district_id AND l.address_hash = r.address_hash AND l.active
                LIMIT 1) blocked ON true
          LEFT JOIN LATERAL (
               SELECT e.recipient_no FROM recipient e
                WHERE (b.dedupe_key <> 'address+content' OR common_content IS NOT NULL)
                  AND left_blasts.category IS NULL AND blocked.reason IS NULL
                  AND e.blast_id = wanted AND e.address_hash = r.address_hash AND e.recipient_no < r.recipient_no
                  AND (b.dedupe_key <> 'address+person'
                       OR (e.person_kind, e.person_ref) IS NOT DISTINCT FROM (r.person_kind, r.person_ref))
                  AND (b.class = 'emergency'
                       OR coalesce(b.category = ANY (e.categories), true)
                          AND NOT refuses_consent(e.consent_refused, b.category, b.class))
                  AND NOT EXISTS (SELECT FROM decision d
                                   WHERE d.blast_id = wanted AND d.recipient_no = e.recipient_no OFFSET 0)
                ORDER BY e.recipient_no LIMIT 1) earlier ON true
          LEFT JOIN LATERAL (
               SELECT h.blast_id, h.recipient_no, handed_over.at
                 FROM content_claim h
                CROSS JOIN LATERAL handed_over_at(h.blast_id, h.recipient_no, h.at) AS handed_over (at)
                WHERE b.class <> 'emergency' AND b.parent_blast_id IS NULL AND h.district_id = b.district_id
                  AND h.address_hash = r.address_hash AND h.content_hash = common_content
                  AND h.blast_id <> b.blast_id
                  AND handed_over.at > clock_timestamp() - b.content_window LIMIT 1) claim ON true
         WHERE b.blast_id = wanted AND r.blast_id = wanted
    ), decided AS (
        SELECT *, CASE
            WHEN fault IS NOT NULL THEN fault::int
            WHEN refused THEN 7
            WHEN unselected THEN 8
            WHEN opted_out IS NOT NULL THEN 9
            WHEN blocked = 'bounce' THEN 11
            WHEN blocked = 'complaint' THEN 12
            WHEN blocked IS NOT NULL THEN 13
            WHEN original_no IS NOT NULL OR claim_no IS NOT NULL THEN 10
        END AS decided_fact, array_remove(ARRAY[
            CASE fault WHEN 6 THEN 'no_address' WHEN 14 THEN 'address_syntax' END,
            CASE WHEN refused THEN 'consent' END,
            CASE WHEN unselected THEN 'category' END,
            CASE WHEN opted_out IS NOT NULL THEN 'opt_out' END,
            'blacklist_' || blocked,
            CASE WHEN original_no IS NOT NULL THEN 'duplicate_address' END,
            CASE WHEN claim_no IS NOT NULL THEN 'duplicate_content' END], NULL) AS applying
          FROM looked_up
    )
    SELECT d.recipient_no, d.district_id, d.decided_fact, d.applying[1],
        CASE d.decided_fact
            WHEN 6 THEN coalesce(d.fault_reason, 'The list has no address for this recipient.')
            WHEN 14 THEN coalesce(d.fault_reason, 'The address cannot be used.')
            WHEN 7 THEN 'Consent to "' || d.category || '" messages was refused.'
            WHEN 8 THEN 'This address is not selected for "' || d.category || '" messages.'
            WHEN 9 THEN CASE d.opted_out
                WHEN '*' THEN 'Opted out of all blasts on '
                ELSE 'Opted out of "' || d.category || '" messages on ' END
                || local_day(d.opted_out_at, (SELECT zone FROM clock)) || '.'
            WHEN 10 THEN CASE
                WHEN d.original_no IS NULL THEN 'The same message was sent to this address at '
                    || local_time(d.claim_at, (SELECT zone FROM clock)) || '.'
                ELSE 'Same address as recipient ' || d.original_no || ' of this blast; one message is enough.' END
            WHEN 11 THEN 'On the blacklist: mail to this address was returned, last on '
                || local_day(d.blocked_at, (SELECT zone FROM clock)) || '.'
            WHEN 12 THEN 'On the blacklist: a message was marked as spam, last on '
                || local_day(d.blocked_at, (SELECT zone FROM clock)) || '.'
            WHEN 13 THEN CASE d.blocked
                WHEN 'invalid' THEN 'On the blacklist: the address was found invalid on '
                ELSE 'On the blacklist: blocked by hand on ' END
                || local_day(d.blocked_at, (SELECT zone FROM clock)) || '.'
        END,
        CASE WHEN d.decided_fact = 10 AND d.original_no IS NULL THEN d.claim_blast
             WHEN d.decided_fact = 10 THEN wanted END,
        CASE WHEN d.decided_fact = 10 THEN coalesce(d.original_no, d.claim_no) END,
        d.applying
      FROM decided d
$$;

-- The same for a draft of the caller's district, which may not read the lists themselves.
CREATE FUNCTION dry_run_screening(wanted uuid, first_no int, last_no int, common_content bytea)
RETURNS TABLE (recipient_no int, fact int, rule text, detail text, original_blast_id uuid, original_recipient_no int,
               rules text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = rollcall, pg_temp AS $$
    SELECT s.recipient_no, s.fact, s.rule, s.detail, s.original_blast_id, s.original_recipient_no, s.rules
      FROM blast b, LATERAL screen_recipients(b.blast_id, first_no, last_no, common_content) s
     WHERE b.blast_id = wanted AND b.district_id = current_district()
$$;
-- Whether these recipients of a draft had content of their own within its window, as the hand-over would find.
CREATE FUNCTION dry_run_claims(wanted uuid, recipients int[], contents bytea[])
RETURNS TABLE (recipient_no int, original_blast_id uuid, original_recipient_no int, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = rollcall, pg_temp AS $$
    SELECT r.recipient_no, h.blast_id, h.recipient_no, handed_over.at
      FROM unnest(recipients, contents) AS u (no, content)
      JOIN blast b ON b.blast_id = wanted AND b.district_id = current_district()
                  AND b.class <> 'emergency' AND b.parent_blast_id IS NULL
      JOIN recipient r ON r.blast_id = wanted AND r.recipient_no = u.no
      JOIN content_claim h ON h.district_id = b.district_id AND h.address_hash = r.address_hash
                          AND h.content_hash = u.content
     CROSS JOIN LATERAL handed_over_at(h.blast_id, h.recipient_no, h.at) AS handed_over (at)
     WHERE h.blast_id <> wanted AND handed_over.at > clock_timestamp() - b.content_window
$$;
REVOKE ALL ON FUNCTION dry_run_screening, dry_run_claims FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dry_run_screening, dry_run_claims TO rollcall_intake;

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
