-- Tables for the records of all gateways (PostgreSQL 12 or later). Run it at first, and again when
-- this file has changed: psql -d plant -f postgres.sql
-- The four names of a record are the key, so that a repeated message changes nothing.
CREATE TABLE IF NOT EXISTS record (
  gateway text, session bigint, source text, seq bigint,
  ts timestamptz NOT NULL, type text NOT NULL,
  body jsonb NOT NULL, -- all of the record; ts there has nanoseconds
  PRIMARY KEY (gateway, session, source, seq)
);
CREATE INDEX IF NOT EXISTS record_ts ON record (ts);
CREATE INDEX IF NOT EXISTS record_started ON record (gateway, session) WHERE type = 'event' AND body->>'event' = 'started';

-- loss has the loss records as they came. Their ranges may overlap: count with the view lost.
CREATE TABLE IF NOT EXISTS loss (
  gateway text, session bigint, source text, first bigint, last bigint, reason text NOT NULL,
  PRIMARY KEY (gateway, session, source, first, last)
);

-- unread has messages that could not be read, such as compressed ones for which a library is missing.
-- postgres.py tries them again when it starts.
CREATE TABLE IF NOT EXISTS unread (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  came timestamptz NOT NULL DEFAULT now(), topic text NOT NULL, reason text NOT NULL, payload bytea NOT NULL
);

-- take puts the records of one message into the tables; status and meta are left out.
CREATE OR REPLACE FUNCTION take(message jsonb) RETURNS void LANGUAGE sql AS $$
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
-- value with words counts as its number, and label has its word, or its flags;
-- number is NULL for a text, such as an integer beyond 2^53, for a value that
-- could not be read, of which error says why, and where no double can be so
-- large or small. sa is the source address of a J1939 message: two senders are
-- two series. stamp is ts with its nanoseconds.
CREATE OR REPLACE VIEW value AS
SELECT gateway, source, coalesce(body->>'device', body->>'name') AS device, name, ts,
  CASE jsonb_typeof(plain)
    WHEN 'number' THEN CASE WHEN plain::numeric = 0 OR abs(plain::numeric) BETWEEN 1e-307 AND 1e308 THEN plain::text::double precision END
    WHEN 'boolean' THEN (plain::text::boolean)::int END AS number,
  plain #>> '{}' AS text, coalesce(v->>'label', v->>'flags') AS label, body->>'sa' AS sa, body->>'ts' AS stamp, body->'errors'->>name AS error
FROM record,
  LATERAL (SELECT coalesce(body->'values', body->'signals') AS all_values) AS a,
  LATERAL (SELECT jsonb_object_agg(e, NULL) AS failed FROM jsonb_object_keys(CASE jsonb_typeof(body->'errors') WHEN 'object' THEN body->'errors' END) AS e) AS f,
  LATERAL jsonb_each(coalesce(failed, '{}') || CASE jsonb_typeof(all_values) WHEN 'object' THEN all_values ELSE '{}' END) AS each (name, v),
  LATERAL (SELECT CASE jsonb_typeof(v) WHEN 'object' THEN v->'value' ELSE v END AS plain) AS p
WHERE type IN ('can', 'modbus');

-- missing has the numbers that neither came nor were reported lost. A hole is
-- filled when the backlog of an outage has arrived. The account of a session
-- begins with 1 if its start is here, and else with the lowest number.
CREATE OR REPLACE VIEW missing AS
SELECT gateway, session, source, before + 1 AS first, seq - 1 AS last
FROM (SELECT *, max(until) OVER (PARTITION BY gateway, session, source ORDER BY seq, until ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM (SELECT gateway, session, source, seq, seq AS until FROM record
            UNION ALL SELECT gateway, session, source, first, last FROM loss
            UNION ALL SELECT DISTINCT gateway, session, source, 0::bigint, 0::bigint FROM record
                      JOIN (SELECT gateway, session FROM record WHERE type = 'event' AND body->>'event' = 'started') AS opened USING (gateway, session)
           ) AS known) AS step
WHERE seq > before + 1;

-- lost has each number that was reported lost once, though the ranges of loss records may overlap.
-- numbers is how many of first to last did not come as records before or after all.
CREATE OR REPLACE VIEW lost AS
SELECT gateway, session, source, first, last, reason, last - first + 1 - (
    SELECT count(*) FROM record AS r
    WHERE r.gateway = part.gateway AND r.session = part.session AND r.source = part.source AND r.seq BETWEEN first AND last) AS numbers
FROM (SELECT gateway, session, source, reason, last,
             greatest(first, 1 + max(last) OVER (PARTITION BY gateway, session, source ORDER BY first, last DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS first
      FROM loss) AS part
WHERE first <= last;
