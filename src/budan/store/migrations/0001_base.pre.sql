-- Why: the first schema (docs/design.md section 6): lane-led keys, children partitioned by order id, narrow due tables.
-- Locks: only new tables. How long: milliseconds.

-- The database stores its environment and installation; a process configured otherwise does not start (I13).
CREATE TABLE installation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    installation_id uuid NOT NULL DEFAULT gen_random_uuid(),
    environment text NOT NULL CHECK (environment IN ('local', 'test', 'live')),
    lanes smallint NOT NULL CHECK (lanes BETWEEN 1 AND 64),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- ---------------------------------------------------------------- who takes part

CREATE TABLE merchant (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (id BETWEEN 1 AND 1073741823),
    lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 63),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE shop (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_id integer NOT NULL REFERENCES merchant (id),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    -- What the printed code carries; random, so that shops cannot be counted.
    code text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX shop_merchant_id ON shop (merchant_id);

CREATE TABLE terminal (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id integer NOT NULL REFERENCES shop (id),
    merchant_id integer NOT NULL REFERENCES merchant (id),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    token_digest bytea NOT NULL UNIQUE CHECK (length(token_digest) = 32),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_key (
    -- The public half of the key; the secret half is kept as a digest only.
    id text PRIMARY KEY,
    merchant_id integer NOT NULL REFERENCES merchant (id),
    secret_digest bytea NOT NULL CHECK (length(secret_digest) = 32),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_key_merchant_id ON api_key (merchant_id);

CREATE TABLE channel_account (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel text NOT NULL CHECK (channel IN ('wechat_v3', 'alipay')),
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 80),
    enabled boolean NOT NULL DEFAULT true,
    settings jsonb NOT NULL,
    -- Keys by name, sealed by wire/secret_box.
    sealed_secrets bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Which accounts take a merchant's orders; the lowest priority number goes first.
CREATE TABLE merchant_account (
    merchant_id integer NOT NULL REFERENCES merchant (id),
    account_id integer NOT NULL REFERENCES channel_account (id),
    priority smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (merchant_id, account_id)
);

CREATE TABLE fee_rate (
    merchant_id integer NOT NULL REFERENCES merchant (id),
    channel text NOT NULL,
    effective_from timestamptz NOT NULL,
    rate_bp integer NOT NULL CHECK (rate_bp BETWEEN 0 AND 10000),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (merchant_id, channel, effective_from)
);

CREATE TABLE webhook_endpoint (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_id integer NOT NULL REFERENCES merchant (id),
    url text NOT NULL CHECK (length(url) <= 2048),
    sealed_secret bytea NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_endpoint_merchant_id ON webhook_endpoint (merchant_id) WHERE enabled;

-- ---------------------------------------------------------------- who works

CREATE TABLE worker (
    id text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

-- Who holds a lane owns its due rows until the lease ends; the fence rises with every change of hands.
CREATE TABLE lane_lease (
    lane smallint PRIMARY KEY,
    holder text,
    fence bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);

-- Ten bits of every id; leased, so that two processes never make the same id.
CREATE TABLE id_lease (
    process_number smallint PRIMARY KEY CHECK (process_number BETWEEN 0 AND 1023),
    holder text,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);

-- ---------------------------------------------------------------- orders and their children

CREATE TABLE orders (
    lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 63),
    id bigint NOT NULL,
    merchant_id integer NOT NULL,
    reference text NOT NULL CHECK (length(reference) BETWEEN 1 AND 64),
    state text NOT NULL CHECK (state IN ('created', 'paying', 'paid', 'expired', 'closing', 'closed')),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 40),
    shop_id integer,
    terminal_id integer,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    trade_count smallint NOT NULL DEFAULT 0 CHECK (trade_count BETWEEN 0 AND 31),
    told_unpaid boolean NOT NULL DEFAULT false,
    hold_reason text,
    hold_since timestamptz,
    paid_at timestamptz,
    paid_attempt smallint,
    learned_source text,
    learned_at timestamptz,
    completed_at timestamptz,
    fee_rate_bp integer,
    fee_minor bigint,
    refund_reserved_minor bigint NOT NULL DEFAULT 0 CHECK (refund_reserved_minor >= 0),
    refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor >= 0),
    PRIMARY KEY (lane, id),
    CHECK ((state = 'paid') = (paid_attempt IS NOT NULL)),
    CHECK ((state = 'paid') = (completed_at IS NOT NULL)),
    CHECK ((hold_reason IS NULL) = (hold_since IS NULL)),
    CHECK (refund_reserved_minor + refunded_minor <= amount_minor)
) PARTITION BY RANGE (id);
-- The lane is left out on purpose: with it, a planner without statistics takes this index for the primary key.
CREATE INDEX orders_merchant_id ON orders (merchant_id, id);

CREATE TABLE trade (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    attempt smallint NOT NULL CHECK (attempt BETWEEN 1 AND 31),
    account_id integer NOT NULL,
    channel text NOT NULL,
    method text NOT NULL CHECK (method IN ('native', 'jsapi', 'wap', 'code')),
    state text NOT NULL CHECK (
        state IN (
            'created', 'submitted', 'user_paying', 'unknown', 'reversing', 'succeeded', 'failed', 'closed', 'reversed'
        )
    ),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    fee_rate_bp integer NOT NULL CHECK (fee_rate_bp BETWEEN 0 AND 10000),
    created_at timestamptz NOT NULL,
    send_until timestamptz NOT NULL,
    expires_at timestamptz,
    -- Every value of the request but its signature (I11); never an auth code.
    intent jsonb NOT NULL,
    -- What the payer's side needs to go on: code text, parameters or address.
    action jsonb,
    paid_seen boolean NOT NULL DEFAULT false,
    not_found_count smallint NOT NULL DEFAULT 0,
    asked_count integer NOT NULL DEFAULT 0,
    channel_reference text,
    wallet_reference text,
    payer_id text,
    wallet text,
    payer_minor bigint,
    settle_minor bigint,
    paid_at timestamptz,
    code text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    PRIMARY KEY (lane, order_id, attempt),
    CHECK (state <> 'succeeded' OR paid_seen)
) PARTITION BY RANGE (order_id);

-- Statements that could end or complete a trade; "not yet" is counted on the trade.
CREATE TABLE evidence (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    attempt smallint NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    outcome text NOT NULL,
    source text NOT NULL CHECK (source IN ('reply', 'notice', 'query', 'bill', 'operator')),
    decision text NOT NULL,
    account_id integer NOT NULL,
    order_minor bigint,
    payer_minor bigint,
    settle_minor bigint,
    currency text,
    channel_reference text,
    paid_at timestamptz,
    asked_at timestamptz,
    learned_at timestamptz NOT NULL,
    PRIMARY KEY (lane, order_id, attempt, digest)
) PARTITION BY RANGE (order_id);

CREATE TABLE notice (
    lane smallint NOT NULL,
    -- 0 where the number is none of ours: such rows live in the default partition.
    order_id bigint NOT NULL,
    id bigint NOT NULL,
    account_id integer NOT NULL,
    trade_no text NOT NULL,
    received_at timestamptz NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    decision text NOT NULL,
    PRIMARY KEY (lane, order_id, id)
) PARTITION BY RANGE (order_id);

CREATE TABLE posting (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    entry_key text NOT NULL,
    line smallint NOT NULL,
    account text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
    currency text NOT NULL,
    booked_at timestamptz NOT NULL,
    PRIMARY KEY (lane, order_id, entry_key, line)
) PARTITION BY RANGE (order_id);

CREATE TABLE contradiction (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    attempt smallint NOT NULL,
    digest bytea NOT NULL,
    mismatch text NOT NULL,
    found_at timestamptz NOT NULL,
    PRIMARY KEY (lane, order_id, attempt, digest)
) PARTITION BY RANGE (order_id);

CREATE TABLE remedy (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    attempt smallint NOT NULL,
    cause text NOT NULL,
    learned_source text NOT NULL,
    paid_at timestamptz,
    learned_at timestamptz NOT NULL,
    completed_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (lane, order_id, attempt)
) PARTITION BY RANGE (order_id);

CREATE TABLE refund (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    ordinal smallint NOT NULL CHECK (ordinal BETWEEN 1 AND 31),
    attempt smallint NOT NULL,
    state text NOT NULL CHECK (state IN ('created', 'submitted', 'succeeded', 'failed', 'abnormal', 'unknown')),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (lane, order_id, ordinal)
) PARTITION BY RANGE (order_id);

CREATE TABLE webhook (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    version integer NOT NULL,
    endpoint_id integer NOT NULL,
    event text NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    taken_at timestamptz,
    PRIMARY KEY (lane, order_id, version, endpoint_id)
) PARTITION BY RANGE (order_id);

CREATE TABLE delivery (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    version integer NOT NULL,
    endpoint_id integer NOT NULL,
    attempt integer NOT NULL,
    started_at timestamptz NOT NULL,
    latency_ms integer NOT NULL,
    -- NULL where no answer came.
    status smallint,
    error text NOT NULL DEFAULT '',
    PRIMARY KEY (lane, order_id, version, endpoint_id, attempt)
) PARTITION BY RANGE (order_id);

-- ---------------------------------------------------------------- uniqueness that outlives a partition

CREATE TABLE order_reference (
    lane smallint NOT NULL,
    merchant_id integer NOT NULL,
    reference text NOT NULL,
    order_id bigint NOT NULL,
    PRIMARY KEY (lane, merchant_id, reference)
);

CREATE TABLE idempotency (
    lane smallint NOT NULL,
    merchant_id integer NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_digest bytea NOT NULL CHECK (length(request_digest) = 32),
    order_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (lane, merchant_id, key)
);

-- ---------------------------------------------------------------- work: deleted when done

-- Their second index begins with the time, so that no planner takes it for a deletion by key.

CREATE TABLE query_due (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    attempt smallint NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (lane, order_id, attempt)
);
CREATE INDEX query_due_due_at ON query_due (due_at, lane);

CREATE TABLE webhook_due (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    version integer NOT NULL,
    endpoint_id integer NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (lane, order_id, endpoint_id, version)
);
CREATE INDEX webhook_due_due_at ON webhook_due (due_at, lane);

CREATE TABLE close_due (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    attempt smallint NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (lane, order_id, attempt)
);
CREATE INDEX close_due_due_at ON close_due (due_at, lane);

CREATE TABLE refund_due (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    ordinal smallint NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (lane, order_id, ordinal)
);
CREATE INDEX refund_due_due_at ON refund_due (due_at, lane);

-- Evidence without effect yet: its trade is unknown, or its row failed.
CREATE TABLE evidence_due (
    lane smallint NOT NULL,
    trade_no text NOT NULL,
    digest bytea NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    reason text NOT NULL,
    statement jsonb NOT NULL,
    kept_at timestamptz NOT NULL,
    PRIMARY KEY (lane, trade_no, digest)
);
CREATE INDEX evidence_due_due_at ON evidence_due (due_at, lane);

-- ---------------------------------------------------------------- what could not be verified

-- A digest each, and a bounded sample of bodies; nothing else changes.
CREATE TABLE notice_rejected (
    account_id integer NOT NULL,
    digest bytea NOT NULL,
    reason text NOT NULL,
    received_at timestamptz NOT NULL,
    times integer NOT NULL DEFAULT 1,
    sample bytea,
    PRIMARY KEY (account_id, digest)
);
CREATE INDEX notice_rejected_received_at ON notice_rejected (received_at);

-- ---------------------------------------------------------------- partitions

-- Makes the weekly partitions of one partitioned table up to `until`, and its default one; safe to repeat and to race.
-- A week is counted from 2025-01-01 UTC, where ids begin (core/numbers.py): its bounds are ids, not times. LIKE and
-- ATTACH take only SHARE UPDATE EXCLUSIVE on the parent, so orders are taken while a partition is made; but ATTACH shuts
-- the default partition to all, so each table has a transaction of its own: with two shut at once, whoever reads them in
-- the other order would be in a deadlock with it.
CREATE FUNCTION make_partitions(parent text, since timestamptz, until timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    week bigint;
    first_id bigint;
    past_id bigint;
    id_column text := CASE parent WHEN 'orders' THEN 'id' ELSE 'order_id' END;
    -- Orders and trades change two or three times and then rest: room on their page saves their indexes from each change.
    filled integer := CASE WHEN parent IN ('orders', 'trade') THEN 60 ELSE 100 END;
    made integer := 0;
    week_ms constant bigint := 604800000;
    epoch constant timestamptz := '2025-01-01 00:00:00+00';
BEGIN
    -- A second maker waits here, and then finds everything made.
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(parent || '_default') IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', parent || '_default', parent);
    END IF;
    FOR week IN
        SELECT generate_series(
            (extract(epoch FROM since - epoch) * 1000)::bigint / week_ms,
            (extract(epoch FROM until - epoch) * 1000)::bigint / week_ms
        )
    LOOP
        CONTINUE WHEN to_regclass(format('%s_w%s', parent, week)) IS NOT NULL;
        first_id := (week * week_ms) << 22;
        past_id := ((week + 1) * week_ms) << 22;
        EXECUTE format(
            'CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (fillfactor = %s)',
            parent || '_w' || week, parent, filled
        );
        -- Rows that came before their partition are in the default one and would forbid it: they move.
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
        EXECUTE format(
            'WITH early AS (DELETE FROM %I WHERE %I >= %s AND %I < %s RETURNING *) INSERT INTO %I SELECT * FROM early',
            parent || '_default', id_column, first_id, id_column, past_id, parent || '_w' || week
        );
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
            parent, parent || '_w' || week, first_id, past_id
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- The codes of the system that people come from (docs/design.md section 2).
CREATE VIEW legacy_order AS
SELECT
    o.lane,
    o.id,
    o.reference,
    CASE o.state WHEN 'expired' THEN 3 WHEN 'closed' THEN 4 WHEN 'paid' THEN 5 ELSE 0 END AS order_status,
    CASE o.state WHEN 'paid' THEN 2 WHEN 'paying' THEN 1 ELSE 0 END AS pay_status
FROM orders AS o;
