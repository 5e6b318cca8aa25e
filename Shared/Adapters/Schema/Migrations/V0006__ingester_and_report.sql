-- Written by the event ingester: raw opens and clicks, judged once a quiet window has passed.
CREATE TABLE tracking_hit (
    blast_id uuid NOT NULL,
    hit_id uuid NOT NULL,
    recipient_no int NOT NULL,
    district_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('open', 'click')),
    link_no smallint,
    at timestamptz NOT NULL,
    -- several ingesters write with a delay; a burst is judged once no part of it can still be on its way
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    method text NOT NULL,
    user_agent text,
    -- the fact it was judged to be; null while the window is open
    fact smallint,
    -- when it was published, or found to repeat what an earlier hit of this delivery says
    reported_at timestamptz,
    PRIMARY KEY (blast_id, hit_id)
) PARTITION BY RANGE (blast_id);
CREATE INDEX tracking_hit_by_delivery ON tracking_hit (blast_id, recipient_no);
CREATE INDEX tracking_hit_unjudged ON tracking_hit (stored_at) WHERE fact IS NULL;
CREATE INDEX tracking_hit_unreported ON tracking_hit (stored_at) WHERE fact IS NOT NULL AND reported_at IS NULL;
INSERT INTO daily_table VALUES ('tracking_hit');
SELECT protect_tenant_table('tracking_hit', '{rollcall_report}', '{rollcall_ingester}');
GRANT SELECT, INSERT, UPDATE ON tracking_hit TO rollcall_ingester;
GRANT SELECT ON tracking_hit TO rollcall_report;

-- Written by the report API: what staff asked the owners of other tables to do.
CREATE TABLE command (
    command_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    district_id bigint NOT NULL REFERENCES district,
    kind text NOT NULL CHECK (kind IN ('blacklist.reset', 'blacklist.add')),
    target text NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}',
    actor text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reported_at timestamptz
);
CREATE INDEX command_unreported ON command (created_at) WHERE reported_at IS NULL;
SELECT protect_tenant_table('command', '{}', '{rollcall_report}');
GRANT SELECT, INSERT, UPDATE (reported_at) ON command TO rollcall_report;
