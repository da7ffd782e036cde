-- What verdicts rest on: the numbers of each minute, the tapes of judges, and
-- traces of failed requests. Times are seconds since 1970; data is in base64.

-- +goose Up
CREATE TABLE minutes (
    service    TEXT NOT NULL,
    env        TEXT NOT NULL,
    release_id TEXT NOT NULL,
    minute     BIGINT NOT NULL,
    rollout_id TEXT NOT NULL,
    doc        TEXT NOT NULL,
    PRIMARY KEY (service, env, release_id, minute)
);
-- Only what is evidence of no rollout ever goes.
CREATE INDEX minutes_age ON minutes (minute) WHERE rollout_id = '';
CREATE INDEX minutes_time ON minutes (minute);

CREATE TABLE tapes (
    rollout_id TEXT NOT NULL REFERENCES rollouts (id),
    part       BIGINT NOT NULL,
    data       TEXT NOT NULL,
    PRIMARY KEY (rollout_id, part)
);

CREATE TABLE traces (
    id        TEXT PRIMARY KEY,
    change_id BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    doc       TEXT NOT NULL
);
CREATE INDEX traces_change ON traces (change_id, at);
CREATE INDEX traces_age ON traces (at);
