package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// diverted measures keys that are held in a store: keys whose only message has failed, and the same after a restart. Their
// records are in a file. The figures are those of a pipeline with them less those of one that has handled all messages.
func diverted(ctx context.Context, t *bench.Table, short bool) error {
	o := order{Count: 10_000, Idle: 10 * time.Second} // longer than flow keeps the memory of its last batch
	if short {
		o = order{Count: 1_000, Idle: time.Second}
	}
	none, err := bench.Run[found](ctx, "strands", o)
	if err != nil {
		return err
	}
	for _, o.Strands = range []string{"held", "restored"} {
		f, err := bench.Run[found](ctx, "strands", o)
		if err != nil {
			return err
		}
		t.Row(row{
			Part: "memory", What: fmt.Sprintf("diverted keys at rest, %s, keys of 12 bytes, all included", o.Strands), Count: o.Count, Partitions: partitions,
			Bytes: (f.Bytes - none.Bytes) / float64(o.Count), Goroutines: f.Goroutines - none.Goroutines, Goal: "bytes_each <= 500",
		})
	}
	return nil
}

// strands handles a log with a message of each key. If o.Strands is not empty, all of them end up held in a store.
func strands(ctx context.Context, o order) (err error) {
	log := memory.NewLog("strands", partitions)
	for i := range o.Count {
		log.Append(int32(i%partitions), keystrand.Message{Key: fmt.Appendf(nil, "key-%08d", i), Value: make([]byte, 100)})
	}
	folder, err := os.MkdirTemp("", "strands")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	store, err := bolt.New(filepath.Join(folder, "spill.db"), bolt.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if o.Strands == "restored" {
		if err := holdAll(ctx, store, log, o.Count); err != nil {
			return err
		}
	}
	want := o.Count
	if o.Strands == "" {
		want = 0
	}
	var since time.Time
	return measureOf(ctx, func() *pipeline.Builder {
		return pipeline.From(memory.NewSource(memory.Config{}, log)).
			HandleFunc(func(context.Context, *keystrand.Message) error {
				if o.Strands == "" {
					return nil
				}
				return keystrand.Permanent(errors.New("the order has no customer"))
			}).
			OnFailure(pipeline.Hold).Divert(store).
			Limits(pipeline.Limits{Workers: 1}) // idle workers and their stacks are left out
	}, func(p *pipeline.Pipeline) bool {
		if s := p.Snapshot(); since.IsZero() && s.Diverting.Held == want && s.Settled >= int64(o.Count) {
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) >= o.Idle
	})
}

// holdAll stores all messages of a log, as an earlier owner that held all keys.
func holdAll(ctx context.Context, store spill.Store, log *memory.Log, count int) error {
	for partition := range int32(partitions) {
		l, _, err := store.Open(ctx, spill.Owner{Stream: log.Stream(), Partition: partition, Log: log.Identity()})
		if err != nil {
			return err
		}
		var rs []spill.Record
		for i := int(partition); i < count; i += partitions {
			m := keystrand.Message{
				Key: fmt.Appendf(nil, "key-%08d", i), Value: make([]byte, 100),
				Stream: log.Stream(), Partition: partition, Offset: int64(i / partitions), Fetched: time.Now(),
			}
			rs = append(rs, spill.Record{Key: string(m.Key), From: m.Offset, Hold: true, Reason: "the order has no customer", Message: m})
		}
		if err := errors.Join(l.Append(ctx, rs), l.Close()); err != nil {
			return err
		}
	}
	return nil
}
