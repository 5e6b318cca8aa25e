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
    vocabulary text NOT NULL DEFAULT 'canonical',
    -- keys the hash under which an address is compared, so that no two districts' hashes can be matched
    address_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
SELECT protect_tenant_table('district', '{rollcall_intake,rollcall_report}',
                            '{rollcall_dispatch,rollcall_ingester,rollcall_projector,rollcall_guard}');
GRANT SELECT ON district TO rollcall_intake, rollcall_report, rollcall_dispatch, rollcall_ingester, rollcall_projector,
    rollcall_guard;

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
    always_triggers name[] NOT NULL DEFAULT '{}'
);

-- Creates the missing partitions of every daily table for the days from..to (UTC). Idempotent; returns how many.
CREATE FUNCTION ensure_partitions(from_day date, to_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = rollcall, pg_temp AS $$
DECLARE
    daily daily_table;
    day date;
    part text;
    trigger_name name;
    created int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rollcall.ensure_partitions'));
    FOR daily IN SELECT * FROM daily_table ORDER BY name LOOP
        FOR day IN SELECT generate_series(from_day, to_day, interval '1 day')::date LOOP
            part := format('%s_%s', daily.name, to_char(day, 'YYYYMMDD'));
            CONTINUE WHEN to_regclass(format('rollcall.%I', part)) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L) %s', part, daily.name,
                           uuid_floor(day::timestamp AT TIME ZONE 'UTC'),
                           uuid_floor((day + 1)::timestamp AT TIME ZONE 'UTC'), daily.storage);
            FOREACH trigger_name IN ARRAY daily.always_triggers LOOP
                EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', part, trigger_name);
            END LOOP;
            created := created + 1;
        END LOOP;
    END LOOP;
    RETURN created;
END $$;
REVOKE ALL ON FUNCTION ensure_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions TO rollcall_report;
