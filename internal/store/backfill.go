package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// backfill gives the rows of a database from before schema 4 what they are searched
// by since, and the project of one from before schema 5 its line of the ledger. It is cheap when there is nothing to fill, and may be cut off anywhere.
func backfill(ctx context.Context, db *sql.DB) error {
	if err := each(ctx, db, `SELECT doc FROM changes WHERE submitted = 0`, func(tx *sql.Tx, c delivery.Change) error {
		if _, err := tx.ExecContext(ctx, `UPDATE changes SET submitted = $1, person = $2 WHERE id = $3`, max(c.Submitted.UnixMicro(), 1), c.By, c.ID); err != nil {
			return err
		}
		for _, kind := range c.Kinds {
			if _, err := tx.ExecContext(ctx, insertKind, kind, c.ID); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := each(ctx, db, lastProjectLine, func(tx *sql.Tx, e delivery.Event) error {
		_, err := tx.ExecContext(ctx, `UPDATE projects SET line = $1 WHERE id = 1 AND line = 0`, e.Seq)
		return err
	}); err != nil {
		return err
	}
	return each(ctx, db, `SELECT doc FROM rollouts WHERE state = ''`, func(tx *sql.Tx, r delivery.Rollout) error {
		_, err := tx.ExecContext(ctx, `UPDATE rollouts SET state = $1 WHERE id = $2`, r.State, r.ID)
		return err
	})
}

// lastProjectLine is a walk over the lines of no change, once in the life of a database.
const lastProjectLine = `SELECT doc FROM events WHERE change_id = 0 AND doc LIKE '%"kind":"project"%'
	AND EXISTS (SELECT 1 FROM projects WHERE line = 0) ORDER BY seq DESC LIMIT 1`

const insertKind = `INSERT INTO change_kinds (kind, change_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`

// each calls fn for the documents that text selects, all in one transaction.
func each[T any](ctx context.Context, db *sql.DB, text string, fn func(*sql.Tx, T) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	list, err := documents[T](ctx, tx, text)
	for _, v := range list {
		if err == nil {
			err = fn(tx, v)
		}
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func documents[T any](ctx context.Context, tx *sql.Tx, text string) ([]T, error) {
	rows, err := tx.QueryContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var doc string
		var v T
		if err := rows.Scan(&doc); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(doc), &v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}
