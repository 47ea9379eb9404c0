package binlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/memory"
)

// copied is a copy of a table. It enforces the unique keys like a database.
type copied struct {
	table *binlog.Table
	mu    sync.Mutex
	rows  [][]any
}

// apply changes the copy, or returns what a database would refuse.
func (c *copied) apply(r *binlog.Row) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := slices.Clone(c.rows)
	if r.Before != nil {
		i := slices.IndexFunc(rest, func(row []any) bool { return slices.Equal(row, r.Before) })
		if i < 0 {
			return fmt.Errorf("no row %v", r.Before)
		}
		rest = slices.Delete(rest, i, i+1)
	}
	if r.After != nil {
		for _, k := range c.table.Keys {
			for _, row := range rest {
				if v := r.After[k.Columns[0]]; v != nil && v == row[k.Columns[0]] {
					return fmt.Errorf("key %s of %v is a duplicate", k.Name, r.After)
				}
			}
		}
		rest = append(rest, r.After)
	}
	c.rows = rest
	return nil
}

// String returns the rows in an order of their own.
func (c *copied) String() string {
	var all []string
	for _, r := range c.rows {
		all = append(all, fmt.Sprint(r))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// pairs returns a table of a primary key and a unique key.
func pairs() *binlog.Table {
	return &binlog.Table{
		Database: "shop", Name: "pairs",
		Columns: []binlog.Column{{Name: "a", Type: "bigint", Unsigned: true}, {Name: "b", Type: "int"}},
		Keys:    []binlog.UniqueKey{{Name: "PRIMARY", Columns: []int{0}}, {Name: "b", Columns: []int{1}}},
	}
}

// handle runs a pipeline over the rows in synctest's bubble. Each row takes the time that pause returns. It returns the error of
// the first row that the copy refused.
func handle(t *testing.T, to *copied, rows []binlog.Row, pause func(i int) time.Duration) error {
	t.Helper()
	log := memory.NewLog("shop.pairs", 1)
	for i := range rows {
		log.Append(0, keystrand.Message{Native: &rows[i]})
	}
	log.Close()
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
		Key(binlog.Key).
		HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			r, err := binlog.RowOf(m)
			if err != nil {
				return err
			}
			time.Sleep(pause(int(m.Offset)))
			return to.apply(r)
		}).
		Limits(pipeline.Limits{Workers: 16}).
		Build()
	if err != nil {
		t.Fatal(err)
	}
	return p.Run(t.Context())
}

// Four statements that go wrong if only the primary key orders them: the update would come before the deletion of the row
// that has its unique value.
func fourStatements() []binlog.Row {
	t := pairs()
	return []binlog.Row{
		{Table: t, Kind: binlog.Insert, After: []any{uint64(1), int64(1)}},
		{Table: t, Kind: binlog.Insert, After: []any{uint64(2), int64(2)}},
		{Table: t, Kind: binlog.Delete, Before: []any{uint64(2), int64(2)}},
		{Table: t, Kind: binlog.Update, Before: []any{uint64(1), int64(1)}, After: []any{uint64(1), int64(2)}},
	}
}

func slowDelete(i int) time.Duration {
	if i == 2 {
		return time.Second
	}
	return 0
}

func TestUniqueValueOfADeletedRowIsFreeBeforeAnotherRowTakesIt(t *testing.T) {
	for name, seal := range map[string]bool{"sealed": true, "not sealed": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rows := fourStatements()
				if seal {
					binlog.Seal(rows, true)
				}
				to := &copied{table: pairs()}
				if err := handle(t, to, rows, slowDelete); err != nil {
					t.Error(err)
				}
				if to.String() != "[1 2]" {
					t.Errorf("the copy has %v, want [1 2]", to)
				}
			})
		})
	}
}

// The test above would fail if only the primary key counted.
func TestPrimaryKeyAloneDoesNotOrderUniqueValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := fourStatements()
		for i := range rows {
			rows[i].Table.Keys = rows[i].Table.Keys[:1]
		}
		if err := handle(t, &copied{table: pairs()}, rows, slowDelete); err == nil {
			t.Error("the copy has refused no row")
		}
	})
}

// Rows appear, go, change their primary keys, and give each other their unique values, NULL among them.
func TestUniqueValuesThatMoveBetweenRowsStayInOrder(t *testing.T) {
	for name, from := range map[string]int{"with a primary key": 0, "without a primary key": 1} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			table := pairs()
			table.Keys = table.Keys[from:]
			want := &copied{table: table}
			var rows []binlog.Row
			var delays []time.Duration
			for len(rows) < 2000 {
				row := binlog.Row{Table: table, Kind: binlog.Kind(1 + random.IntN(3))}
				if row.Kind != binlog.Insert {
					if len(want.rows) == 0 {
						continue
					}
					row.Before = want.rows[random.IntN(len(want.rows))]
				}
				if row.Kind != binlog.Delete {
					row.After = []any{uint64(random.IntN(30)), int64(random.IntN(30))}
					if row.Before != nil && random.IntN(2) == 0 {
						row.After[0] = row.Before[0]
					}
					if random.IntN(20) == 0 {
						row.After[1] = nil
					}
				}
				if want.apply(&row) == nil {
					rows = append(rows, row)
					delays = append(delays, time.Duration(random.IntN(100))*time.Millisecond)
				}
			}
			binlog.Seal(rows, false)
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				to := &copied{table: table}
				if err := handle(t, to, rows, func(i int) time.Duration { return delays[i] }); err != nil {
					t.Error(err)
				}
				if to.String() != want.String() {
					t.Errorf("the copy has %v, want %v", to, want)
				}
				if took := time.Since(start); took > 50*time.Second { // of 100
					t.Errorf("rows take %v: they run one at a time", took)
				}
			})
		})
	}
}

func TestStatementRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("shop.pairs", 1)
		rows := fourStatements()
		for i := range rows[:2] {
			log.Append(0, keystrand.Message{Native: &rows[i]})
		}
		log.Append(0, keystrand.Message{Native: &binlog.DDL{Query: "ALTER TABLE pairs ADD c INT"}})
		other := binlog.Row{Table: pairs(), Kind: binlog.Insert, After: []any{uint64(9), int64(9)}}
		log.Append(0, keystrand.Message{Native: &other})
		log.Close()
		running := 0
		var mu sync.Mutex
		p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).Key(binlog.Key).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				mu.Lock()
				running++
				n := running
				mu.Unlock()
				d, err := binlog.DDLOf(m)
				if d != nil && n > 1 {
					err = errors.New("a row runs beside the statement")
				}
				time.Sleep(time.Second)
				mu.Lock()
				if d != nil && running > 1 {
					err = errors.New("a row has begun beside the statement")
				}
				running--
				mu.Unlock()
				return err
			}).Build()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := p.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 3*time.Second { // two rows together, the statement, a row
			t.Errorf("took %v, want 3s", took)
		}
	})
}
