-- The yardstick of `budan bench`: the life of an order as most systems write it, one statement after the other.
-- Four commits (created, sent, paid, told), ten statements, run by 32 clients of pgbench on the same server.
-- It is never changed: figures of different days are compared by it.
\set merchant random(1, 1000)
BEGIN;
INSERT INTO ref_order (merchant_id, reference, state, amount_minor)
VALUES (:merchant, gen_random_uuid()::text, 'created', 1000) RETURNING id AS order_id \gset
INSERT INTO ref_trade (order_id, state) VALUES (:order_id, 'created') RETURNING id AS trade_id \gset
COMMIT;
BEGIN;
UPDATE ref_trade SET state = 'submitted', code_text = 'weixin://wxpay/bizpayurl?pr=reference' WHERE id = :trade_id;
COMMIT;
BEGIN;
SELECT version FROM ref_order WHERE id = :order_id FOR UPDATE;
UPDATE ref_trade SET state = 'succeeded', channel_reference = gen_random_uuid()::text WHERE id = :trade_id;
UPDATE ref_order SET state = 'paid', paid_at = now(), version = version + 1 WHERE id = :order_id;
INSERT INTO ref_posting (order_id, account, amount_minor)
VALUES (:order_id, 'channel', 1000), (:order_id, 'merchant', -994), (:order_id, 'fee_income', -6);
INSERT INTO ref_webhook (order_id, body) VALUES (:order_id, repeat('x', 400)) RETURNING id AS webhook_id \gset
COMMIT;
BEGIN;
SELECT body FROM ref_webhook WHERE id = :webhook_id;
UPDATE ref_webhook SET taken_at = now() WHERE id = :webhook_id;
COMMIT;
