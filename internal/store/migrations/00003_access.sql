-- Who may ask. Tokens, sessions and sign-in links are known by the SHA-256 of what
-- opens them; times are seconds since 1970.

-- +goose Up
CREATE TABLE tokens (
    hash    TEXT PRIMARY KEY,
    name    TEXT NOT NULL,
    created BIGINT NOT NULL,
    active  BOOLEAN NOT NULL,
    doc     TEXT NOT NULL
);
-- A name is given again once the token that had it opens nothing any more.
CREATE UNIQUE INDEX tokens_name ON tokens (name) WHERE active;

CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL,
    hash       TEXT NOT NULL UNIQUE,
    old_hash   TEXT NOT NULL,
    new_hash   TEXT NOT NULL,
    seen       BIGINT NOT NULL,
    ends       BIGINT NOT NULL,
    doc        TEXT NOT NULL
);
CREATE INDEX sessions_old ON sessions (old_hash);
CREATE INDEX sessions_new ON sessions (new_hash);
CREATE INDEX sessions_token ON sessions (token_hash, seen);
CREATE INDEX sessions_age ON sessions (ends);

CREATE TABLE links (
    hash       TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL,
    ends       BIGINT NOT NULL,
    doc        TEXT NOT NULL
);
CREATE INDEX links_age ON links (ends);
