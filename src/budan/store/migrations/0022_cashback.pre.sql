-- Why: cashback plans with their budgets portioned to lanes (docs/design.md section 6), what each paid order was granted
-- and why, and each movement of it. A trade keeps what was offered when it began; where its merchant has no plan, nothing.
-- Locks: trade, exclusive; beside it only new tables. How long: milliseconds.

ALTER TABLE trade ADD COLUMN cashback_offer jsonb;

-- NULL: every merchant, every method, no end. A plan is never changed but by its end.
CREATE TABLE cashback_plan (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    merchant_id integer REFERENCES merchant (id),
    funded_by text NOT NULL CHECK (funded_by IN ('merchant', 'platform')),
    fixed_minor bigint CHECK (fixed_minor > 0),
    rate_bp integer CHECK (rate_bp BETWEEN 1 AND 10000),
    cap_minor bigint CHECK (cap_minor > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    budget_minor bigint NOT NULL CHECK (budget_minor > 0),
    methods text [],
    begins_at timestamptz NOT NULL,
    ends_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((fixed_minor IS NULL) <> (rate_bp IS NULL)),
    CHECK (cap_minor IS NULL OR rate_bp IS NOT NULL),
    CHECK (merchant_id IS NOT NULL OR funded_by = 'platform'),
    CHECK (ends_at >= begins_at)
);

-- A lane's portion of a plan's budget, and what of it stands granted: the CHECK is what bounds concurrent completions.
CREATE TABLE cashback_budget (
    lane smallint NOT NULL,
    plan_id integer NOT NULL,
    budget_minor bigint NOT NULL,
    granted_minor bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (lane, plan_id),
    CHECK (granted_minor BETWEEN 0 AND budget_minor)
);

-- What a paid order was granted: of that, what its refunds leave standing, and what is booked to its payer.
CREATE TABLE cashback (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    plan_id integer NOT NULL,
    funded_by text NOT NULL CHECK (funded_by IN ('merchant', 'platform')),
    decision text NOT NULL CHECK (decision IN ('granted', 'payer_unknown', 'order_held', 'budget_exhausted')),
    granted_minor bigint NOT NULL,
    standing_minor bigint NOT NULL,
    booked_minor bigint NOT NULL,
    currency text NOT NULL,
    payer_id text CHECK (length(payer_id) BETWEEN 1 AND 128),
    movements smallint NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (lane, order_id),
    CHECK (0 <= booked_minor AND booked_minor <= standing_minor AND standing_minor <= granted_minor),
    CHECK (payer_id IS NOT NULL OR booked_minor = 0)
) PARTITION BY RANGE (order_id);

-- One for each journal entry `cashback:<ordinal>`, with whose it is.
CREATE TABLE cashback_movement (
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    ordinal smallint NOT NULL CHECK (ordinal > 0),
    merchant_id integer NOT NULL,
    payer_id text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
    currency text NOT NULL,
    cause text NOT NULL CHECK (cause IN ('paid', 'payer_known', 'released', 'refund', 'refund_freed')),
    booked_at timestamptz NOT NULL,
    PRIMARY KEY (lane, order_id, ordinal)
) PARTITION BY RANGE (order_id);
-- The lane is left out on purpose: with it, a planner without statistics takes this index for the primary key.
CREATE INDEX cashback_movement_payer ON cashback_movement (merchant_id, payer_id, order_id);
