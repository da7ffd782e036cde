-- Which line of the ledger says who put the project in force. It is filled when the
-- database is opened (backfill.go).

-- +goose Up
ALTER TABLE projects ADD COLUMN line BIGINT NOT NULL DEFAULT 0;
