-- name: tables_prepare :none
-- DuckDB would draw its progress on the standard output, where --json prints.
SET enable_progress_bar = FALSE
