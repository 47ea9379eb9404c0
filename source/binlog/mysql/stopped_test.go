package mysql_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// One session has set binlog_row_image for one row of one table.
func TestFaultOfOneTableLeavesTheOthersOfThePipelineAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := recorded.Pipe(t, recorded.Load(t, recorded.Bank))
		s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, s.Recording(), query) }
		m := newMaker(t, s, "suite", "t0", "t1")
		row := func(table, text string) []recorded.Event {
			return m.insert("suite", table, [3][]byte{[]byte(text)})
		}
		half := row("t0", "half")
		body := slices.Clone(half[1].Body())
		body[9] = 0b0111 // of 4 columns
		half[1] = recorded.NewEvent(1, replication.WRITE_ROWS_EVENTv1, 1, 0, body)

		cfg := mysql.Config{User: recorded.User, Password: recorded.Password, Dial: s.DialContext}
		cfg.Start = startNow(t, "recorded:3306", cfg)
		store := newMemStore()
		src, err := mysql.New("recorded:3306", []string{"suite.*"}, store, cfg)
		if err != nil {
			t.Fatal(err)
		}
		handled := make(chan string, 100)
		p, err := pipeline.From(src).HandleFunc(func(_ context.Context, msg *keystrand.Message) error {
			handled <- msg.Stream
			return nil
		}).Build()
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		m.transaction(append(row("t0", "whole"), half...)...)
		m.transaction(row("t1", "x")...)
		time.Sleep(time.Minute)
		m.transaction(append(row("t0", "behind the fault"), row("t1", "y")...)...)
		time.Sleep(time.Minute)

		trouble := p.Snapshot().Source.Trouble
		if len(trouble) != 1 || trouble[0].What != "stopped suite.t0" {
			t.Fatalf("trouble = %+v, want the table that has stopped", trouble)
		}
		for _, want := range []string{"recorded:3306", "binlog.000003, position", "table suite.t0", "binlog_row_image", "delete the progress of suite.t0/0"} {
			if !strings.Contains(trouble[0].Err.Error(), want) {
				t.Errorf("trouble = %v, want %q in it", trouble[0].Err, want)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want an orderly end", err)
		}
		frontier := func(table string) int64 {
			progress, err := store.Claim(t.Context(), "suite."+table, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			return progress.Frontier
		}
		if a, b := frontier("t0"), frontier("t1"); a >= b {
			t.Errorf("stored frontiers %d and %d, want the commits of the other table to go on", a, b)
		}
		close(handled)
		count := make(map[string]int)
		for stream := range handled {
			count[stream]++
		}
		if got := fmt.Sprint(count); got != "map[suite.t0:1 suite.t1:2]" {
			t.Errorf("handled %s, want the row before the fault and all of the other table", got)
		}
	})
}
