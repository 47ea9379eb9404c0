package sql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/ncruces/go-sqlite3/driver" // of sqlite3

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
)

// Two owners of a partition, one after the other. The source calls Claim and Save; a program only makes the store.
func Example() {
	dir, err := os.MkdirTemp("", "progress")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "progress.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = db.Close() }()
	ctx := context.Background()
	store, err := commitsql.New(db, commitsql.SQLite, "billing", commitsql.Config{})
	if err == nil {
		err = store.Create(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}

	first, err := store.Claim(ctx, "orders", 0, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(store.Save(ctx, "orders", 0, &commit.Progress{Epoch: first.Epoch, Frontier: 42}))
	next, err := store.Claim(ctx, "orders", 0, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("epoch", next.Epoch, "frontier", next.Frontier)
	err = store.Save(ctx, "orders", 0, &commit.Progress{Epoch: first.Epoch, Frontier: 50})
	fmt.Println(errors.Is(err, commit.ErrFenced))
	// Output:
	// <nil>
	// epoch 2 frontier 42
	// true
}

func ExampleSchema() {
	for statement := range strings.SplitSeq(commitsql.Schema(commitsql.MariaDB), ";\n") {
		name, _, _ := strings.Cut(statement, " (")
		fmt.Println(name)
	}
	// Output:
	// CREATE TABLE keystrand_commit_layout
	// INSERT INTO keystrand_commit_layout
	// CREATE TABLE keystrand_commit_owners
	// CREATE TABLE keystrand_commit_progress
}
