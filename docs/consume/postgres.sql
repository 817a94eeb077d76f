-- Tables for the records of all gateways (PostgreSQL 12 or later). Run it once:
--   psql -d plant -f postgres.sql
-- The four names of a record are the key, so that a repeated message changes nothing.
CREATE TABLE record (
  gateway text, session bigint, source text, seq bigint,
  ts timestamptz NOT NULL, type text NOT NULL,
  body jsonb NOT NULL, -- all of the record; ts there has nanoseconds
  PRIMARY KEY (gateway, session, source, seq)
);
CREATE INDEX record_ts ON record (ts);

CREATE TABLE loss (
  gateway text, session bigint, source text, first bigint, last bigint, reason text NOT NULL,
  PRIMARY KEY (gateway, session, source, first, last)
);

-- take puts the records of one message into the tables; status and meta are left out.
CREATE FUNCTION take(message jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO record
  SELECT message->>'gateway', (message->>'session')::bigint, message->>'source', (r->>'seq')::bigint,
         (r->>'ts')::timestamptz, r->>'type', r
  FROM jsonb_array_elements(message->'records') AS r
  WHERE message->>'v' = '1' AND r->>'type' <> 'loss'
  ON CONFLICT DO NOTHING;
  INSERT INTO loss
  SELECT message->>'gateway', (message->>'session')::bigint, message->>'source', (r->>'from')::bigint, (r->>'to')::bigint, r->>'reason'
  FROM jsonb_array_elements(message->'records') AS r
  WHERE message->>'v' = '1' AND r->>'type' = 'loss'
  ON CONFLICT DO NOTHING;
$$;

-- value has a row for each value of a register and each signal of a frame. A
-- value with words counts as its number; number is NULL for a text, and for a
-- value that could not be read.
CREATE VIEW value AS
SELECT gateway, source, coalesce(body->>'device', body->>'name') AS device, name, ts,
  CASE jsonb_typeof(plain) WHEN 'number' THEN plain::text::double precision WHEN 'boolean' THEN (plain::text::boolean)::int END AS number,
  plain #>> '{}' AS text, v->>'label' AS label
FROM record,
  LATERAL jsonb_each(coalesce(body->'values', body->'signals')) AS each (name, v),
  LATERAL (SELECT CASE jsonb_typeof(v) WHEN 'object' THEN v->'value' ELSE v END AS plain) AS p;

-- missing has the numbers that neither came nor were reported lost. A hole is
-- filled when the backlog of an outage has arrived.
CREATE VIEW missing AS
SELECT gateway, session, source, before + 1 AS first, seq - 1 AS last
FROM (SELECT *, max(until) OVER (PARTITION BY gateway, session, source ORDER BY seq, until ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM (SELECT gateway, session, source, seq, seq AS until FROM record
            UNION ALL SELECT gateway, session, source, first, last FROM loss
            UNION ALL SELECT DISTINCT gateway, session, source, 0::bigint, 0::bigint FROM record) AS known) AS step
WHERE seq > before + 1;
