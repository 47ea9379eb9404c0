package sql_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/middleware/spill"
	spillsql "github.com/keystrand/keystrand/middleware/spill/sql"
)

func TestLiveUnusableTablesAreAnErrorThatSaysWhatToDo(t *testing.T) {
	for _, service := range services() {
		t.Run(service.dialect.String(), func(t *testing.T) {
			other := spillsql.PostgreSQL
			if service.dialect == other {
				other = spillsql.MariaDB
			}
			for name, c := range map[string]struct {
				dialect    spillsql.Dialect
				withTables bool
				statements []string
				want       string
			}{
				"no tables":           {service.dialect, false, nil, "Schema"},
				"a table is missing":  {service.dialect, true, []string{"DROP TABLE keystrand_spill_records"}, "3 of the 4 tables"},
				"another layout":      {service.dialect, true, []string{"UPDATE keystrand_spill_layout SET version = 2"}, "layout 2"},
				"no layout":           {service.dialect, true, []string{"DELETE FROM keystrand_spill_layout"}, "0 rows"},
				"another dialect":     {other, true, nil, service.dialect.String()},
				"the strand is wrong": {service.dialect, true, []string{"UPDATE keystrand_spill_strands SET strand_key = 'b'"}, "cannot be read"},
			} {
				t.Run(name, func(t *testing.T) {
					db := service.newDatabase(t, c.withTables)
					pool := db.pool(t)
					if c.withTables {
						l := open(t, newStore(t, pool, db.dialect, "unusable"), owner)
						if err := l.Append(t.Context(), []spill.Record{record("a", 1)}); err != nil {
							t.Fatal(err)
						}
					}
					for _, q := range c.statements {
						exec1(t, pool, q)
					}
					_, _, err := newStore(t, pool, c.dialect, "unusable").Open(t.Context(), owner)
					if !errors.Is(err, spill.ErrUnusable) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `orders/3: store "unusable"`) {
						t.Errorf("Open = %v, want ErrUnusable with %q, partition and store", err, c.want)
					}
				})
			}
		})
	}
}

func TestLiveTablesThatChangeWhileTheyAreUsedAreAnError(t *testing.T) {
	for name, c := range map[string]struct {
		statement string
		call      func(ctx context.Context, l spill.Log) error
		want      string
	}{
		"table dropped": {
			"DROP TABLE keystrand_spill_records",
			func(ctx context.Context, l spill.Log) error { return l.Append(ctx, []spill.Record{record("a", 2)}) }, "Schema",
		},
		"partition deleted": {
			"DELETE FROM keystrand_spill_partitions",
			func(ctx context.Context, l spill.Log) error { return l.Save(ctx, []spill.Mark{{Key: "a", Through: 1}}) }, "deleted",
		},
		"record deleted": {
			"DELETE FROM keystrand_spill_records",
			func(ctx context.Context, l spill.Log) error {
				_, err := l.Read(ctx, "a", -1, spill.Size{Messages: 5, Bytes: 10_000})
				return err
			}, "counts 1 records and has 0",
		},
		"record damaged": {
			"UPDATE keystrand_spill_records SET message = SUBSTRING(message, 1, 9)",
			func(ctx context.Context, l spill.Log) error {
				_, err := l.Read(ctx, "a", -1, spill.Size{})
				return err
			}, `key "a" offset 1 cannot be read`,
		},
		"record of a newer version": {
			"UPDATE keystrand_spill_records SET message = 'x'", // the first byte is the version of the form
			func(ctx context.Context, l spill.Log) error {
				_, err := l.Read(ctx, "a", -1, spill.Size{})
				return err
			}, `key "a" offset 1: version 120: written by a newer version of keystrand: run that version`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, db database) {
				t.Helper()
				pool := db.pool(t)
				l := open(t, newStore(t, pool, db.dialect, "changed"), owner)
				if err := l.Append(t.Context(), []spill.Record{record("a", 1)}); err != nil {
					t.Fatal(err)
				}
				exec1(t, pool, c.statement)
				if err := c.call(t.Context(), l); !errors.Is(err, spill.ErrUnusable) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the call = %v, want ErrUnusable with %q", err, c.want)
				}
			})
		})
	}
}

// Records that do not fit into a statement together are stored by several. A driver that writes the values into the text of the
// statement needs the most room.
func TestLiveRecordsLargerThanAPacketTogetherAreStored(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		if db.dialect == spillsql.MariaDB {
			db.url += "?interpolateParams=true"
		}
		l := open(t, db.store(t, "many"), owner)
		var rs []spill.Record
		for i := range int64(20) {
			r := record("a", i)
			r.Message.Value = make([]byte, 1<<20)
			rs = append(rs, r)
		}
		if err := l.Append(t.Context(), rs); err != nil {
			t.Fatal(err)
		}
		if ms, err := l.Read(t.Context(), "a", -1, spill.Size{}); err != nil || len(ms) != len(rs) {
			t.Errorf("Read = %d messages, %v; want %d", len(ms), err, len(rs))
		}
	})
}

// A record that the database refuses for its size would make each Append fail for ever. It is named, and those below the limit
// are stored, alone and beside others.
func TestLiveLargestRecordIsStoredAndALargerOneIsNamed(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		l := open(t, db.store(t, "large"), owner)
		rs := []spill.Record{record("a", 1), record("b", 2), record("c", 3)}
		rs[1].Message.Value = make([]byte, 16<<20-70_000) // of the 16 MiB that MariaDB takes
		if err := l.Append(t.Context(), rs); err != nil {
			t.Fatal(err)
		}
		ms, err := l.Read(t.Context(), "b", -1, spill.Size{Messages: 9, Bytes: 1000})
		if err != nil || len(ms) != 1 || len(ms[0].Value) != len(rs[1].Message.Value) {
			t.Errorf("Read = %d messages, %v; want the large one", len(ms), err)
		}
		if db.dialect == spillsql.PostgreSQL {
			return // its limit is half a GiB
		}
		for name, spoil := range map[string]func(r *spill.Record){
			"value": func(r *spill.Record) { r.Message.Value = make([]byte, 17<<20) },
			"key":   func(r *spill.Record) { r.Key = strings.Repeat("k", 17<<20) },
		} {
			rs := []spill.Record{record("d", 4), record("e", 5)}
			spoil(&rs[1])
			err := l.Append(t.Context(), rs)
			if e, ok := errors.AsType[*spill.RecordError](err); !ok || e.Record != 1 {
				t.Errorf("Append with a %s of 17 MiB = %v, want a *RecordError of record 1", name, err)
			}
		}
	})
}
