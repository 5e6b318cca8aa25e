-- Roles, tenants, keys, and the helpers that later migrations use.
-- One role per service with its grants only. HTTP paths (intake, report) see one district at a time through
-- row-level security; background roles (dispatch, ingester, projector, guard) work across districts.

DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['rollcall_intake', 'rollcall_dispatch', 'rollcall_ingester',
                                     'rollcall_projector', 'rollcall_guard', 'rollcall_report'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN NOBYPASSRLS', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA rollcall TO %I', role_name);
    END LOOP;
END $$;

-- The district of this transaction, set with SET LOCAL rollcall.district; no district means no rows.
CREATE FUNCTION current_district() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS
    $$ SELECT nullif(current_setting('rollcall.district', true), '')::bigint $$;

-- Forces row-level security on a table: tenant roles see their district, background roles every row, and the
-- owner every row (the operator's tools).
CREATE FUNCTION protect_tenant_table(target regclass, tenant_roles name[], background_roles name[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE role_name name;
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY owner ON %s TO %I USING (true) WITH CHECK (true)', target, current_user);
    FOREACH role_name IN ARRAY tenant_roles LOOP
        EXECUTE format('CREATE POLICY %I ON %s TO %I USING (district_id = current_district()) '
                       'WITH CHECK (district_id = current_district())', role_name, target, role_name);
    END LOOP;
    FOREACH role_name IN ARRAY background_roles LOOP
        EXECUTE format('CREATE POLICY %I ON %s TO %I USING (true) WITH CHECK (true)', role_name, target, role_name);
    END LOOP;
END $$;

CREATE TABLE district (
    district_id bigint PRIMARY KEY CHECK (district_id > 0),
    name text NOT NULL,
    time_zone text NOT NULL DEFAULT 'UTC',
    -- how its reports read the facts: whose words, whether a bounce after a delivery shows, whose opens count
    vocabulary text NOT NULL DEFAULT 'canonical',
    late_bounce text NOT NULL DEFAULT 'frozen' CHECK (late_bounce IN ('frozen', 'shown')),
    opens text NOT NULL DEFAULT 'human' CHECK (opens IN ('human', 'all')),
    -- keys the hash under which an address is compared, so that no two districts' hashes can be matched
    address_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- general mail waits from quiet_from until quiet_until, by the clocks of time_zone; both or neither
    quiet_from time,
    quiet_until time,
    -- blasts with more recipients than this are sent once a second person has approved; null asks nobody
    approval_above int CHECK (approval_above >= 0),
    CHECK ((quiet_from IS NULL) = (quiet_until IS NULL)),
    CHECK (quiet_from <> quiet_until)
);
SELECT protect_tenant_table('district', '{rollcall_intake,rollcall_report}',
                            '{rollcall_dispatch,rollcall_ingester,rollcall_projector,rollcall_guard}');
GRANT SELECT ON district TO rollcall_intake, rollcall_report, rollcall_dispatch, rollcall_ingester, rollcall_projector,
    rollcall_guard;
GRANT UPDATE (vocabulary, late_bounce, opens, time_zone, quiet_from, quiet_until, approval_above) ON district
    TO rollcall_report;

-- The name of a zone of the database's own list: every clock of a district goes by it, here and on pages. Other spellings
-- that PostgreSQL or a program would take (GMT+0530) mean different things to them.
CREATE FUNCTION is_time_zone(zone text) RETURNS boolean LANGUAGE sql STABLE AS
    $$ SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = zone) $$;
-- A time as pages of the zone's district show it.
CREATE FUNCTION local_day(at timestamptz, zone text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS
    $$ SELECT to_char(at AT TIME ZONE zone, 'Mon FMDD, YYYY') $$;
CREATE FUNCTION local_time(at timestamptz, zone text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS
    $$ SELECT to_char(at AT TIME ZONE zone, 'Mon FMDD, YYYY FMHH12:MI am') || ' (' || zone || ')' $$;

-- Who changed what about a district, and when. A trigger writes it, so that nobody can change a setting unseen; a
-- program names the person in rollcall.actor.
CREATE TABLE district_change (
    district_id bigint NOT NULL REFERENCES district,
    change_no bigint GENERATED ALWAYS AS IDENTITY,
    setting text NOT NULL,
    old_value text,
    new_value text,
    actor text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (district_id, change_no)
);
SELECT protect_tenant_table('district_change', '{rollcall_report}', '{}');
GRANT SELECT ON district_change TO rollcall_report;
CREATE FUNCTION record_district_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rollcall, pg_temp AS $$
BEGIN
    INSERT INTO district_change (district_id, setting, old_value, new_value, actor)
    SELECT NEW.district_id, key, was.value, becomes.value,
           coalesce(nullif(current_setting('rollcall.actor', true), ''), session_user)
      FROM jsonb_each_text(to_jsonb(OLD) - 'address_key') AS was
      JOIN jsonb_each_text(to_jsonb(NEW) - 'address_key') AS becomes USING (key)
     WHERE was.value IS DISTINCT FROM becomes.value;
    RETURN NULL;
END $$;
CREATE TRIGGER changes_are_recorded AFTER UPDATE ON district
    FOR EACH ROW EXECUTE FUNCTION record_district_change();

-- When the quiet hours around `at` end, or null when `at` is in none. They are a span of time that begins and ends when
-- the clocks of the zone show so: a clock set back inside them shows a quiet time twice, and they end at the second.
-- In plpgsql, which plans it once per session: every WIRE asks.
CREATE FUNCTION quiet_end(at timestamptz, zone text, quiet_from time, quiet_until time) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$ BEGIN RETURN (
    SELECT max(span.ends)
      FROM (SELECT (day + quiet_from) AT TIME ZONE zone AS begins,
                   (day + CASE WHEN quiet_until <= quiet_from THEN 1 ELSE 0 END + quiet_until) AT TIME ZONE zone AS ends
              FROM (VALUES ((at AT TIME ZONE zone)::date - 1), ((at AT TIME ZONE zone)::date)) AS days (day)) AS span
     WHERE span.begins <= at AND at < span.ends
); END $$;
-- The districts in which general mail waits at this moment. Who asks about one district looks at no other's clock.
CREATE VIEW quiet_district WITH (security_invoker = true) AS
    SELECT d.district_id, hours.until
      FROM district d
     CROSS JOIN LATERAL quiet_end(clock_timestamp(), d.time_zone, d.quiet_from, d.quiet_until) AS hours (until)
     WHERE d.quiet_from IS NOT NULL AND hours.until IS NOT NULL;
GRANT SELECT ON quiet_district TO rollcall_dispatch, rollcall_report;

-- What a district decided about its messages, with who and why: append-only, the newest of a kind and subject holds.
-- Written by the operator's tool.
CREATE TABLE district_decision (
    decision_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    district_id bigint NOT NULL REFERENCES district,
    -- tracking_off: opens and clicks are not measured (S-16); unsubscribe_exempt: messages of the category in subject
    -- have no List-Unsubscribe
    kind text NOT NULL CHECK (kind IN ('tracking_off', 'unsubscribe_exempt')),
    subject text NOT NULL DEFAULT '',
    holds boolean NOT NULL,
    actor text NOT NULL CHECK (actor <> ''),
    reason text NOT NULL CHECK (reason <> ''),
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX district_decision_newest ON district_decision (district_id, kind, subject, decision_no DESC);
SELECT protect_tenant_table('district_decision', '{rollcall_intake,rollcall_report}', '{rollcall_dispatch}');
GRANT SELECT ON district_decision TO rollcall_intake, rollcall_report, rollcall_dispatch;
CREATE FUNCTION district_decided(district bigint, wanted_kind text, wanted_subject text DEFAULT '') RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT d.holds FROM district_decision d
                      WHERE d.district_id = district AND d.kind = wanted_kind AND d.subject = wanted_subject
                      ORDER BY d.decision_no DESC LIMIT 1), false)
$$;

-- Only the SHA-256 of a key's secret is kept; the secret has 256 random bits.
CREATE TABLE api_key (
    key_id text PRIMARY KEY,
    district_id bigint NOT NULL REFERENCES district,
    secret_sha256 bytea NOT NULL,
    scopes text[] NOT NULL,
    label text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);
SELECT protect_tenant_table('api_key', '{}', '{}');

-- A key must be found before its district is known; this is the only way to read one, by its exact id.
CREATE FUNCTION find_api_key(wanted text)
RETURNS TABLE (district_id bigint, secret_sha256 bytea, scopes text[], label text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = rollcall, pg_temp AS $$
    SELECT k.district_id, k.secret_sha256, k.scopes, k.label FROM api_key k
     WHERE k.key_id = wanted AND k.revoked_at IS NULL
$$;
REVOKE ALL ON FUNCTION find_api_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_api_key TO rollcall_intake, rollcall_report;

-- A UUIDv7 (RFC 9562) from the database clock: ids of a day are a range, which the big tables are partitioned by.
CREATE FUNCTION uuid_floor(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT rpad(lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
CREATE FUNCTION mint_blast_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_byte(
        overlay(uuid_send(gen_random_uuid())
                PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1),
        6, 112 | (get_byte(uuid_send(gen_random_uuid()), 6) & 15)), 'hex')::uuid
$$;

-- Tables whose rows live in one partition per day of blast ids.
CREATE TABLE daily_table (
    name name PRIMARY KEY,
    storage text NOT NULL DEFAULT '',
    always_triggers name[] NOT NULL DEFAULT '{}',
    -- may COPY into a day's partition, which no policy guards: only where a constraint keeps rows in their district
    copied_by name,
    -- names a day's partition in its statements, with the rights that it has on the table: only a role of all districts,
    -- since no policy guards a partition
    named_by name
);

-- Creates the missing partitions of every daily table for the days from..to (UTC). Idempotent; returns how many.
-- Attached rather than created in place: that lets statements on the tables go on, and cannot wait in a circle with them.
CREATE FUNCTION ensure_partitions(from_day date, to_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rollcall, pg_temp AS $$
DECLARE
    daily daily_table;
    day date;
    part text;
    trigger_name name;
    privilege text;
    created int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rollcall.ensure_partitions'));
    FOR daily IN SELECT * FROM daily_table ORDER BY name LOOP
        FOR day IN SELECT generate_series(from_day, to_day, interval '1 day')::date LOOP
            part := format('%s_%s', daily.name, to_char(day, 'YYYYMMDD'));
            CONTINUE WHEN to_regclass(format('rollcall.%I', part)) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) %s', part, daily.name, daily.storage);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', daily.name, part,
                           uuid_floor(day::timestamp AT TIME ZONE 'UTC'),
                           uuid_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
            FOREACH trigger_name IN ARRAY daily.always_triggers LOOP
                EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', part, trigger_name);
            END LOOP;
            IF daily.copied_by IS NOT NULL THEN
                EXECUTE format('GRANT INSERT ON %I TO %I', part, daily.copied_by);
            END IF;
            FOREACH privilege IN ARRAY ARRAY['SELECT', 'INSERT', 'UPDATE'] LOOP
                IF has_table_privilege(daily.named_by, daily.name::regclass, privilege) THEN
                    EXECUTE format('GRANT %s ON %I TO %I', privilege, part, daily.named_by);
                END IF;
            END LOOP;
            created := created + 1;
        END LOOP;
    END LOOP;
    RETURN created;
END $$;
REVOKE ALL ON FUNCTION ensure_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions TO rollcall_report;

-- The partition that has this blast's rows of a daily table; null when nobody has made it.
CREATE FUNCTION daily_partition(daily name, blast uuid) RETURNS regclass LANGUAGE sql STABLE AS $$
    SELECT to_regclass(format('rollcall.%I', daily || '_' || to_char(to_timestamp(
               ('x' || left(replace(blast::text, '-', ''), 12))::bit(48)::bigint / 1000.0) AT TIME ZONE 'UTC', 'YYYYMMDD')))
$$;
