package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/inbox"
)

// A handler that adds amounts to accounts, each once.
func Example() {
	var db *sql.DB // sql.Open("pgx", url), with import _ "github.com/jackc/pgx/v5/stdlib"
	payments, err := inbox.New(inbox.PostgreSQL, "payments")
	if err != nil {
		fmt.Println(err)
		return
	}
	add := keystrand.HandlerFunc(func(ctx context.Context, m *keystrand.Message) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after Commit it does nothing
		if seen, err := payments.Seen(ctx, tx, m); err != nil || seen {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + $1 WHERE id = $2", string(m.Value), string(m.Key)); err != nil {
			return err
		}
		return tx.Commit()
	})
	_ = add // pipeline.From(source).Handle(add)
}

// A job deletes old records, a thousand in a transaction.
func ExampleInbox_Prune() {
	prune := func(ctx context.Context, db *sql.DB, payments *inbox.Inbox) error {
		for {
			n, err := payments.Prune(ctx, db, 7*24*time.Hour, 1000)
			if err != nil || n == 0 {
				return err
			}
		}
	}
	_ = prune
}
