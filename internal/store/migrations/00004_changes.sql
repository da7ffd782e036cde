-- What changes are searched by, and what a rollout did to those who asked. Columns
-- of rows that were there before are filled when the database is opened (backfill.go).
-- Times are microseconds since 1970.

-- +goose Up
ALTER TABLE changes ADD COLUMN submitted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE changes ADD COLUMN person TEXT NOT NULL DEFAULT '';
CREATE INDEX changes_submitted ON changes (submitted);
CREATE INDEX changes_person ON changes (person, id);

CREATE TABLE change_kinds (
    kind      TEXT NOT NULL,
    change_id BIGINT NOT NULL REFERENCES changes (id),
    PRIMARY KEY (kind, change_id)
);

ALTER TABLE rollouts ADD COLUMN state TEXT NOT NULL DEFAULT '';
CREATE INDEX rollouts_state ON rollouts (state, env, change_id);
CREATE INDEX rollouts_env ON rollouts (env, change_id);

CREATE TABLE exposures (
    rollout_id TEXT PRIMARY KEY REFERENCES rollouts (id),
    settled    BOOLEAN NOT NULL,
    doc        TEXT NOT NULL
);
CREATE INDEX exposures_open ON exposures (rollout_id) WHERE NOT settled;

-- Traces that the page of a change shows as samples stay as long as the change.
ALTER TABLE traces ADD COLUMN lasting BOOLEAN NOT NULL DEFAULT FALSE;
