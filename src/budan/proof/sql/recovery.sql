-- name: proof_completed_list :many
-- When and how each order of a run became paid; one read of these merchants' orders at the end.
SELECT
    lane,
    id AS order_id,
    completed_at,
    learned_source
FROM orders
WHERE merchant_id = any($1) AND completed_at IS NOT NULL;
