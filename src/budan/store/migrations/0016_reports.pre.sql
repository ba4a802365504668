-- Why: what the nightly job found is kept, and its mail waits here until a server has taken it: a mail that was only in
-- memory is lost with the process (docs/design.md section 10).
-- Locks: only new tables. How long: milliseconds.

CREATE TABLE report (
    run_id bigint PRIMARY KEY REFERENCES job_run (id) ON DELETE CASCADE,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    found integer NOT NULL CHECK (found >= 0),
    mended integer NOT NULL CHECK (mended BETWEEN 0 AND found),
    text text NOT NULL,
    html text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each thing that was not as it should be; `mended` where the run made it due again.
CREATE TABLE report_row (
    run_id bigint NOT NULL REFERENCES job_run (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (
        kind IN ('paid_not_completed', 'open_past_end', 'question_missing', 'unbooked', 'unbalanced', 'webhook_untaken')
    ),
    lane smallint NOT NULL,
    order_id bigint NOT NULL,
    attempt smallint NOT NULL,
    detail text NOT NULL CHECK (length(detail) <= 200),
    mended boolean NOT NULL,
    PRIMARY KEY (run_id, kind, lane, order_id, attempt)
);

-- Due until sent: sent_at says when a server took it. A repeat has the same number, so that a reader can tell.
CREATE TABLE mail (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint UNIQUE REFERENCES job_run (id) ON DELETE SET NULL,
    sender text NOT NULL CHECK (length(sender) BETWEEN 3 AND 320),
    recipients text[] NOT NULL CHECK (cardinality(recipients) BETWEEN 1 AND 50),
    subject text NOT NULL CHECK (length(subject) <= 200),
    text text NOT NULL,
    html text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    sent_at timestamptz,
    error text NOT NULL DEFAULT ''
);
CREATE INDEX mail_due_at ON mail (due_at) WHERE sent_at IS NULL;
