package demux

import (
	"context"
	"fmt"
	"testing"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
)

// endless is a log that repeats one transaction.
type endless struct {
	*fakeLog
	events []Event
}

func (l *endless) Open(context.Context, Place, map[string]Known) (Reader, error) {
	return &endlessReader{log: l}, nil
}

type endlessReader struct {
	log *endless
	at  int
	e   Event
}

func (r *endlessReader) Next(ctx context.Context) (*Event, error) {
	if r.at == len(r.log.events) {
		r.at = 0
		if ctx.Err() != nil { // as rare as a look at the network
			return nil, context.Cause(ctx)
		}
	}
	r.e = r.log.events[r.at]
	r.at++
	return &r.e, nil
}

func (*endlessReader) Close() error { return nil }

// newEndless returns a log of transactions that have rows of the tables, in turns.
func newEndless(tables, rowsAnEvent, eventsATransaction int) *endless {
	l := &endless{fakeLog: newFakeLog(1)}
	for i := range eventsATransaction {
		of := &binlog.Table{Database: "shop", Name: fmt.Sprint("t", i%tables), Columns: make([]binlog.Column, 5)}
		e := Event{Kind: Rows, Bytes: 100 * rowsAnEvent}
		for j := range rowsAnEvent {
			e.Rows = append(e.Rows, binlog.Row{
				Table: of, Kind: binlog.Insert, Transaction: "0-1-100",
				After: []any{fmt.Sprint(j), int64(j), "a text of some length", nil, []byte("bytes")},
			})
		}
		l.events = append(l.events, e)
	}
	l.events = append(l.events, Event{Kind: End, Place: "1", Bytes: 30})
	return l
}

// BenchmarkFetch compares a loop over the events of a log with what comes out of Fetch, both by row. The rows of the log are
// always the same, so what Seal costs is not in it.
func BenchmarkFetch(b *testing.B) {
	for _, shape := range []struct{ tables, rows, events int }{{1, 60, 20}, {8, 60, 16}, {8, 1, 8}, {1, 1, 1}} {
		name := fmt.Sprintf("tables=%d/rows=%d/events=%d", shape.tables, shape.rows, shape.events)
		b.Run("bare/"+name, func(b *testing.B) {
			r, err := newEndless(shape.tables, shape.rows, shape.events).Open(b.Context(), "", nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				e, err := r.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				n += len(e.Rows)
			}
		})
		b.Run("fetch/"+name, func(b *testing.B) {
			src, err := New(newEndless(shape.tables, shape.rows, shape.events), Config{Package: "demux", Store: newMemStore()})
			if err != nil {
				b.Fatal(err)
			}
			rows := make(chan int, 100)
			ctx, cancel := context.WithCancel(b.Context())
			var parts []source.Partition
			b.ReportAllocs()
			b.ResetTimer()
			over := make(chan struct{})
			for range shape.tables {
				p, err := src.Accept(ctx)
				if err != nil {
					b.Fatal(err)
				}
				parts = append(parts, p)
				go func() {
					defer func() { over <- struct{}{} }()
					batch := source.Batch{MaxMessages: 256, MaxBytes: 1 << 20}
					for {
						batch.Messages = batch.Messages[:0]
						if p.Fetch(ctx, &batch) != nil {
							return
						}
						select {
						case rows <- len(batch.Messages):
						case <-ctx.Done():
							return
						}
					}
				}()
			}
			for n := 0; n < b.N; {
				n += <-rows
			}
			b.StopTimer()
			cancel()
			for _, p := range parts {
				<-over
				if err := p.Release(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			if err := src.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
