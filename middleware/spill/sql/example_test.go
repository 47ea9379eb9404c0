package sql_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"

	"github.com/keystrand/keystrand/middleware/spill"
	spillsql "github.com/keystrand/keystrand/middleware/spill/sql"
)

func ExampleNew() {
	ctx := context.Background()
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")) // import _ "github.com/jackc/pgx/v5/stdlib"
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = db.Close() }()
	store, err := spillsql.New(db, spillsql.PostgreSQL, "payments")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, strands, err := store.Open(ctx, spill.Owner{Stream: "payments", Epoch: 1})
	fmt.Println(len(strands), err)
}

func ExampleSchema() {
	for statement := range strings.SplitSeq(spillsql.Schema(spillsql.MariaDB), ";\n") {
		name, _, _ := strings.Cut(statement, " (")
		fmt.Println(name)
	}
	// Output:
	// CREATE TABLE keystrand_spill_layout
	// INSERT INTO keystrand_spill_layout
	// CREATE TABLE keystrand_spill_partitions
	// CREATE TABLE keystrand_spill_strands
	// CREATE TABLE keystrand_spill_records
}
