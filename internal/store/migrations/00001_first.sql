-- The common subset of SQLite and PostgreSQL: TEXT, BIGINT, BOOLEAN. A doc column
-- holds the whole thing as JSON; the columns beside it are only what is searched by.

-- +goose Up
CREATE TABLE projects (
    id   BIGINT PRIMARY KEY,
    doc  TEXT NOT NULL,
    yaml TEXT NOT NULL
);

CREATE TABLE releases (
    id      TEXT PRIMARY KEY,
    seq     BIGINT NOT NULL UNIQUE,
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    doc     TEXT NOT NULL
);
CREATE INDEX releases_service ON releases (service, seq);

CREATE TABLE changes (
    id  BIGINT PRIMARY KEY,
    doc TEXT NOT NULL
);

CREATE TABLE change_members (
    service   TEXT NOT NULL,
    change_id BIGINT NOT NULL REFERENCES changes (id),
    PRIMARY KEY (service, change_id)
);

CREATE TABLE rollouts (
    id        TEXT PRIMARY KEY,
    seq       BIGINT NOT NULL UNIQUE,
    change_id BIGINT NOT NULL REFERENCES changes (id),
    service   TEXT NOT NULL,
    env       TEXT NOT NULL,
    gen       BIGINT NOT NULL,
    open      BOOLEAN NOT NULL,
    active    BOOLEAN NOT NULL,
    doc       TEXT NOT NULL
);
CREATE INDEX rollouts_change ON rollouts (change_id, seq);
CREATE INDEX rollouts_place ON rollouts (service, env, seq);
CREATE INDEX rollouts_open ON rollouts (seq) WHERE open;
-- Only one rollout owns the instances and the route of a service in an environment.
CREATE UNIQUE INDEX rollouts_active ON rollouts (service, env) WHERE active;

CREATE TABLE stables (
    service TEXT NOT NULL,
    env     TEXT NOT NULL,
    doc     TEXT NOT NULL,
    PRIMARY KEY (service, env)
);

CREATE TABLE holds (
    id         BIGINT PRIMARY KEY,
    kind       TEXT NOT NULL,
    service    TEXT NOT NULL,
    env        TEXT NOT NULL,
    release_id TEXT NOT NULL,
    active     BOOLEAN NOT NULL,
    doc        TEXT NOT NULL
);
CREATE INDEX holds_active ON holds (id) WHERE active;

CREATE TABLE routes (
    service TEXT NOT NULL,
    env     TEXT NOT NULL,
    doc     TEXT NOT NULL,
    PRIMARY KEY (service, env)
);

CREATE TABLE wants (
    service    TEXT NOT NULL,
    env        TEXT NOT NULL,
    release_id TEXT NOT NULL,
    doc        TEXT NOT NULL,
    PRIMARY KEY (service, env, release_id)
);

-- The ledger. doc is the line as JSON with an empty hash; hash is the SHA-256 of
-- the hash before it followed by doc.
CREATE TABLE events (
    seq        BIGINT PRIMARY KEY,
    change_id  BIGINT NOT NULL,
    rollout_id TEXT NOT NULL,
    service    TEXT NOT NULL,
    env        TEXT NOT NULL,
    event_key  TEXT UNIQUE,
    doc        TEXT NOT NULL,
    hash       TEXT NOT NULL
);
CREATE INDEX events_change ON events (change_id, seq);
CREATE INDEX events_rollout ON events (rollout_id, seq);
CREATE INDEX events_place ON events (service, env, seq);

-- Where the ledger ends, kept apart so that a cut tail is seen.
CREATE TABLE ledger_heads (
    id   BIGINT PRIMARY KEY,
    seq  BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO ledger_heads (id, seq, hash) VALUES (1, 0, '');

CREATE TABLE allotments (
    name   TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE
);

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

-- Answers kept for Idempotency-Key. at is in microseconds since 1970, response in base64.
CREATE TABLE answers (
    answer_key  TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    response    TEXT NOT NULL,
    at          BIGINT NOT NULL
);
CREATE INDEX answers_at ON answers (at);

-- Counts the commits that touched a part of the world, so that a reader can tell
-- what it need not read again.
CREATE TABLE revisions (
    part TEXT PRIMARY KEY,
    n    BIGINT NOT NULL
);
INSERT INTO revisions (part, n) VALUES
    ('project', 0), ('stables', 0), ('holds', 0), ('routes', 0), ('wants', 0), ('rollouts', 0);
