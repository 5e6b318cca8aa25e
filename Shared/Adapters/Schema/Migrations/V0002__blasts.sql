-- Written by the sender: intake (drafts, recipients, sending) and dispatch (chunks).

CREATE TABLE blast (
    blast_id uuid PRIMARY KEY,
    district_id bigint NOT NULL REFERENCES district,
    parent_blast_id uuid,
    channels text[] NOT NULL DEFAULT '{email}' CHECK (channels <@ '{email,sms}' AND channels <> '{}'),
    class text NOT NULL DEFAULT 'general' CHECK (class IN ('general', 'emergency')),
    category text NOT NULL DEFAULT 'general',
    school text,
    subject text NOT NULL,
    html_template text,
    text_template text,
    -- empty where nothing goes by mail
    from_address text NOT NULL CHECK (from_address <> '' OR channels = '{sms}'),
    from_name text,
    reply_to text,
    in_doubt_policy text NOT NULL CHECK (in_doubt_policy IN ('at_most_once', 'at_least_once')),
    -- when a second message to an address is one too many (K-03): always, when it reads the same, or when it is about the
    -- same person
    dedupe_key text NOT NULL DEFAULT 'address' CHECK (dedupe_key IN ('address', 'address+content', 'address+person')),
    -- what a reader may answer (C-16)
    answers text[] NOT NULL DEFAULT '{}',
    content_window interval NOT NULL DEFAULT interval '4 hours',
    not_after timestamptz,
    -- not before this time
    send_at timestamptz,
    state text NOT NULL DEFAULT 'draft'
        CHECK (state IN ('draft', 'awaiting_approval', 'scheduled', 'sending', 'sent')),
    -- what everybody would read, when the templates have no merge field; null otherwise
    content_hash bytea,
    audience int NOT NULL DEFAULT 0 CHECK (audience >= 0),
    -- the merge fields of the uploaded list
    fields text[] NOT NULL DEFAULT '{}',
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    send_requested_at timestamptz,
    -- the label of the key that ordered it, and the key
    requested_by text,
    requested_by_key text,
    -- needs a second person's approval until then; without it nothing is sent
    approval_until timestamptz,
    approved_at timestamptz,
    approved_by text,
    -- when sending began, if that was later than the order
    released_at timestamptz,
    paused_at timestamptz,
    resumed_at timestamptz,
    cancelled_at timestamptz,
    -- stopped by the breaker, until resumed_at is later; after so many recipients tried
    held_at timestamptz,
    held_reason text,
    held_after bigint,
    is_held boolean NOT NULL
        GENERATED ALWAYS AS (held_at IS NOT NULL AND coalesce(resumed_at <= held_at, true)) STORED,
    -- since when it could be sent and nothing was handed over; when that was reported
    idle_since timestamptz,
    stall_reported_at timestamptz,
    -- the first recipient number not yet looked at for results that never came; null when all were
    timeouts_from int DEFAULT 1,
    sending_ended_at timestamptz,
    expires_at timestamptz,
    CHECK ((state = 'draft') = (send_requested_at IS NULL)),
    CHECK (html_template IS NOT NULL OR text_template IS NOT NULL)
);
CREATE INDEX blast_by_district ON blast (district_id, blast_id DESC);
CREATE INDEX blast_sending ON blast (blast_id) WHERE state = 'sending';
CREATE INDEX blast_waiting ON blast (blast_id) WHERE state IN ('awaiting_approval', 'scheduled');
CREATE INDEX blast_timeouts ON blast (sending_ended_at) WHERE state = 'sent' AND timeouts_from IS NOT NULL;
CREATE INDEX blast_children ON blast (parent_blast_id) WHERE parent_blast_id IS NOT NULL;
SELECT protect_tenant_table('blast', '{}',
                            '{rollcall_dispatch,rollcall_ingester,rollcall_projector,rollcall_guard}');
-- Nothing of a document is readable once it has expired (I-22).
CREATE POLICY rollcall_report ON blast TO rollcall_report
    USING (district_id = current_district() AND (expires_at IS NULL OR expires_at > now()));
CREATE POLICY rollcall_intake ON blast TO rollcall_intake
    USING (district_id = current_district() AND (expires_at IS NULL OR expires_at > now()))
    WITH CHECK (district_id = current_district());
GRANT SELECT, INSERT, UPDATE, DELETE ON blast TO rollcall_intake;
GRANT SELECT, UPDATE (state, released_at, sending_ended_at, expires_at, held_at, held_reason, held_after, idle_since,
                      stall_reported_at, timeouts_from) ON blast TO rollcall_dispatch;
GRANT SELECT ON blast TO rollcall_report, rollcall_ingester, rollcall_projector, rollcall_guard;

-- Lets a blast go that waits for a second person: whoever did not order it, by neither label nor key. Called by intake and
-- by the report's page, so that one rule holds for both.
CREATE FUNCTION approve_blast(wanted uuid, by_label text, by_key text) RETURNS TABLE (waits boolean, is_other boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = rollcall, pg_temp AS $$
    WITH asked AS MATERIALIZED (
        SELECT state = 'awaiting_approval' AND approval_until > clock_timestamp() AND cancelled_at IS NULL AS waits,
               requested_by IS DISTINCT FROM by_label AND requested_by_key IS DISTINCT FROM by_key AS is_other
          FROM blast WHERE blast_id = wanted AND district_id = current_district()
           FOR UPDATE
    ), approved AS (
        UPDATE blast
           SET approved_at = clock_timestamp(), approved_by = by_label,
               state = CASE WHEN send_at > clock_timestamp() THEN 'scheduled' ELSE 'sending' END,
               released_at = CASE WHEN send_at > clock_timestamp() THEN NULL ELSE clock_timestamp() END
         WHERE blast_id = wanted AND district_id = current_district()
           AND (SELECT a.waits AND a.is_other FROM asked a)
    )
    SELECT a.waits, a.is_other FROM asked a
$$;
REVOKE ALL ON FUNCTION approve_blast FROM PUBLIC;
GRANT EXECUTE ON FUNCTION approve_blast TO rollcall_intake, rollcall_report;

-- The operators' stop of all sending, in every district: at most one is in force. Written with the operator's tool.
CREATE TABLE operator_pause (
    begun_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    begun_by text NOT NULL,
    reason text NOT NULL,
    includes_emergency boolean NOT NULL DEFAULT false,
    ended_at timestamptz,
    ended_by text
);
CREATE UNIQUE INDEX operator_pause_in_force ON operator_pause ((true)) WHERE ended_at IS NULL;
GRANT SELECT ON operator_pause TO rollcall_intake, rollcall_dispatch, rollcall_report;
-- Why the operators hold a blast now; null when they do not.
CREATE FUNCTION blast_operator_pause(b blast) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT o.reason FROM operator_pause o
     WHERE b.state = 'sending' AND o.ended_at IS NULL AND (o.includes_emergency OR b.class <> 'emergency')
$$;
-- Until when the quiet hours of its district hold a blast that is being sent, or will hold one that is scheduled for a
-- time in them.
CREATE FUNCTION blast_quiet_until(b blast) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT quiet_end(greatest(clock_timestamp(), CASE b.state WHEN 'scheduled' THEN b.send_at END), d.time_zone,
                     d.quiet_from, d.quiet_until)
      FROM district d
     WHERE d.district_id = b.district_id AND b.class <> 'emergency' AND b.state IN ('scheduled', 'sending')
$$;

CREATE TABLE idempotency_key (
    district_id bigint NOT NULL REFERENCES district,
    key text NOT NULL,
    blast_id uuid NOT NULL,
    request_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (district_id, key)
);
SELECT protect_tenant_table('idempotency_key', '{rollcall_intake}', '{}');
GRANT SELECT, INSERT ON idempotency_key TO rollcall_intake;

-- Where a tracked link leads. A click's destination comes from here, never from the request.
CREATE TABLE blast_link (
    blast_id uuid NOT NULL REFERENCES blast ON DELETE CASCADE,
    link_no smallint NOT NULL CHECK (link_no > 0),
    district_id bigint NOT NULL,
    url text NOT NULL,
    PRIMARY KEY (blast_id, link_no)
);
SELECT protect_tenant_table('blast_link', '{rollcall_intake,rollcall_report}',
                            '{rollcall_dispatch,rollcall_ingester}');
GRANT SELECT, INSERT, DELETE ON blast_link TO rollcall_intake;
GRANT SELECT ON blast_link TO rollcall_report, rollcall_dispatch, rollcall_ingester;

CREATE TABLE recipient (
    blast_id uuid NOT NULL,
    recipient_no int NOT NULL CHECK (recipient_no > 0),
    district_id bigint NOT NULL,
    line_no int NOT NULL,
    channel text NOT NULL DEFAULT 'email' CHECK (channel IN ('email', 'sms')),
    -- as uploaded, a telephone number in E.164; empty when the list had none
    address text NOT NULL,
    -- HMAC-SHA-256 of the matching form under the district's key; null when the address cannot be used
    address_hash bytea,
    -- 6 no_address or 14 invalid, found at upload, with the reason in plain words
    fault smallint CHECK (fault IN (6, 14)),
    fault_reason text,
    name text,
    person_ref text,
    person_kind text CHECK (person_kind IN ('family', 'student', 'staff')),
    school text,
    -- BCP 47
    locale text,
    -- broadcast types this address is meant for; null means all
    categories text[],
    -- broadcast types for which consent was refused, * for all; null means none
    consent_refused text[],
    fields jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (blast_id, recipient_no),
    CHECK ((address_hash IS NULL) = (fault IS NOT NULL)),
    -- what the policy says, for COPY, which no policy can guard
    CONSTRAINT recipient_of_own_district
        CHECK (coalesce(district_id = current_district(), current_user <> 'rollcall_intake'))
) PARTITION BY RANGE (blast_id);
CREATE INDEX recipient_by_address ON recipient (blast_id, address_hash, recipient_no);
INSERT INTO daily_table (name, copied_by, named_by) VALUES ('recipient', 'rollcall_intake', 'rollcall_dispatch');
SELECT protect_tenant_table('recipient', '{rollcall_intake,rollcall_report}', '{rollcall_dispatch,rollcall_guard}');
GRANT SELECT, INSERT, DELETE ON recipient TO rollcall_intake;
GRANT SELECT ON recipient TO rollcall_report, rollcall_dispatch, rollcall_guard;
-- Whether a recipient refused what a blast of this category and class sends. An emergency goes out all the same.
CREATE FUNCTION refuses_consent(consent_refused text[], category text, class text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT class <> 'emergency' AND coalesce(consent_refused && ARRAY['*', category], false)
$$;
-- Keeps a draft's list from other uploads, and from deletion, until the transaction ends. False when another transaction
-- keeps it and does not end soon: who repeats an upload that broke off waits for what is left of it.
CREATE FUNCTION keep_list(wanted uuid) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rollcall.keep_list'), hashtext(wanted::text));
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;

-- A list that arrives in parts, before they are put together: octets as sent, cut anywhere.
CREATE TABLE list_part (
    blast_id uuid NOT NULL REFERENCES blast ON DELETE CASCADE,
    part_no int NOT NULL CHECK (part_no BETWEEN 1 AND 10000),
    district_id bigint NOT NULL,
    sha256 bytea NOT NULL,
    content bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (blast_id, part_no)
);
ALTER TABLE list_part ALTER COLUMN content SET STORAGE EXTERNAL;
SELECT protect_tenant_table('list_part', '{rollcall_intake}', '{}');
GRANT SELECT, INSERT, DELETE ON list_part TO rollcall_intake;

-- Files that go with every message of a blast.
CREATE TABLE blast_attachment (
    blast_id uuid NOT NULL REFERENCES blast ON DELETE CASCADE,
    name text NOT NULL,
    district_id bigint NOT NULL,
    media_type text NOT NULL,
    sha256 bytea NOT NULL,
    content bytea NOT NULL,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (blast_id, name)
);
ALTER TABLE blast_attachment ALTER COLUMN content SET STORAGE EXTERNAL;
SELECT protect_tenant_table('blast_attachment', '{rollcall_intake}', '{rollcall_dispatch}');
GRANT SELECT, INSERT, DELETE ON blast_attachment TO rollcall_intake;
GRANT SELECT ON blast_attachment TO rollcall_dispatch;

-- Test messages: no delivery, no claim, no count; kept so that their number is bounded and it is known who sent them.
CREATE TABLE test_message (
    blast_id uuid NOT NULL REFERENCES blast ON DELETE CASCADE,
    test_no bigint GENERATED ALWAYS AS IDENTITY,
    district_id bigint NOT NULL,
    address_hash bytea NOT NULL,
    sent_by text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (blast_id, test_no)
);
CREATE INDEX test_message_by_district ON test_message (district_id, sent_at);
SELECT protect_tenant_table('test_message', '{rollcall_intake}', '{}');
GRANT SELECT, INSERT ON test_message TO rollcall_intake;

-- A range of recipient numbers: the unit of screening and of work.
CREATE TABLE chunk (
    blast_id uuid NOT NULL REFERENCES blast ON DELETE CASCADE,
    chunk_no int NOT NULL CHECK (chunk_no > 0),
    district_id bigint NOT NULL,
    class text NOT NULL,
    first_no int NOT NULL,
    last_no int NOT NULL CHECK (last_no >= first_no),
    state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'cleared', 'done')),
    requested_reported_at timestamptz,
    cleared_at timestamptz,
    lease_token uuid,
    -- its receiving domains take nothing more before
    not_before timestamptz,
    done_at timestamptz,
    PRIMARY KEY (blast_id, chunk_no)
);
CREATE INDEX chunk_requested ON chunk (blast_id, chunk_no) WHERE state = 'requested';
CREATE INDEX chunk_unasked ON chunk (blast_id, chunk_no) WHERE requested_reported_at IS NULL;
CREATE INDEX chunk_cleared ON chunk (blast_id, chunk_no) WHERE state = 'cleared';
CREATE INDEX chunk_leased ON chunk (lease_token) WHERE state = 'cleared' AND lease_token IS NOT NULL;
SELECT protect_tenant_table('chunk', '{rollcall_intake}', '{rollcall_dispatch,rollcall_guard}');
GRANT SELECT, INSERT ON chunk TO rollcall_intake;
GRANT SELECT, UPDATE ON chunk TO rollcall_dispatch;
GRANT SELECT ON chunk TO rollcall_guard;
