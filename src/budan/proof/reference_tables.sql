-- The tables of reference.sql: a plain order system, without partitions, lanes or evidence.
CREATE TABLE ref_order (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    merchant_id integer NOT NULL,
    reference text NOT NULL,
    state text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    amount_minor bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    paid_at timestamptz
);
CREATE UNIQUE INDEX ref_order_reference ON ref_order (merchant_id, reference);
CREATE TABLE ref_trade (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES ref_order (id),
    state text NOT NULL,
    code_text text,
    channel_reference text
);
CREATE INDEX ref_trade_order_id ON ref_trade (order_id);
CREATE TABLE ref_posting (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES ref_order (id),
    account text NOT NULL,
    amount_minor bigint NOT NULL
);
CREATE INDEX ref_posting_order_id ON ref_posting (order_id);
CREATE TABLE ref_webhook (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES ref_order (id),
    body text NOT NULL,
    taken_at timestamptz
);
CREATE INDEX ref_webhook_order_id ON ref_webhook (order_id);
