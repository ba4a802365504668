-- Why: the job centre (docs/design.md section 10): jobs, their runs and what the runs said are rows, so that every
-- machine sees one plan and a run outlives the worker that began it.
-- Locks: only new tables. How long: milliseconds.

CREATE TABLE job (
    name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 40),
    cron text NOT NULL CHECK (length(cron) BETWEEN 1 AND 100),
    zone text NOT NULL CHECK (length(zone) BETWEEN 1 AND 64),
    enabled boolean NOT NULL DEFAULT true,
    -- The first slot that has no run yet.
    next_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- One run for each slot, whatever number of machines plan it: the unique key decides (I6). A run belongs to whoever
-- holds its lease; the fence rises with every change of hands.
CREATE TABLE job_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL REFERENCES job (name),
    slot timestamptz NOT NULL,
    trigger text NOT NULL CHECK (trigger IN ('schedule', 'manual')),
    arguments jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL CHECK (state IN ('due', 'running', 'succeeded', 'failed', 'missed')),
    created_at timestamptz NOT NULL DEFAULT now(),
    fence bigint NOT NULL DEFAULT 0,
    holder text,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    failures integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    finished_at timestamptz,
    -- Where the next holder goes on; the job alone understands it.
    cursor jsonb,
    progress jsonb NOT NULL DEFAULT '{}',
    error text NOT NULL DEFAULT '',
    -- When somebody was told that it is late or takes long: once each.
    late_at timestamptz,
    long_at timestamptz,
    UNIQUE (job, slot),
    CHECK ((state IN ('due', 'running')) = (finished_at IS NULL)),
    CHECK (state <> 'running' OR started_at IS NOT NULL)
);
CREATE INDEX job_run_open ON job_run (slot) WHERE state IN ('due', 'running');

CREATE TABLE job_line (
    run_id bigint NOT NULL REFERENCES job_run (id) ON DELETE CASCADE,
    number integer NOT NULL,
    said_at timestamptz NOT NULL DEFAULT now(),
    level text NOT NULL CHECK (level IN ('info', 'warning', 'error')),
    line text NOT NULL CHECK (length(line) <= 1000),
    PRIMARY KEY (run_id, number)
);
