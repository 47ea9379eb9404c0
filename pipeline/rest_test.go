package pipeline_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

func TestIdlePartitionFreesTheMemoryOfItsLastBatch(t *testing.T) {
	const partitions = 200
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("tables", partitions)
		for n := range int32(partitions) {
			log.Append(n, keysOf(256, 256)...)
		}
		before := held()
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Handle(keystrand.HandlerFunc(nothing)))
		synctest.Wait()
		if s := run.Snapshot(); s.Settled != 256*partitions {
			t.Fatalf("%d messages settled, want all", s.Settled)
		}
		busy := (held() - before) / partitions
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if soon := (held() - before) / partitions; busy-soon < 40_000 {
			t.Errorf("heap for each partition: %d bytes, after 10 s %d; want the 256 messages' structs freed", busy, soon)
		}
		time.Sleep(50 * time.Second)
		synctest.Wait()
		idle := (held() - before) / partitions
		t.Logf("heap for each partition: %d bytes, after a minute %d", busy, idle)
		if busy < 60_000 || idle > 10_000 {
			t.Errorf("heap for each partition: %d bytes, after a minute %d; want most of it freed and at most 10,000 left", busy, idle)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A partition that waits for room does not keep the buffers of its last batch meanwhile.
func TestPartitionThatWaitsForRoomFreesTheMemoryOfItsLastBatch(t *testing.T) {
	const partitions = 50
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("tables", partitions)
		for n := range int32(partitions) {
			log.Append(n, keysOf(300, 300)...)
		}
		let := make(chan struct{})
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).
			Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { <-let; return nil })).
			Limits(pipeline.Limits{MaxReplay: 256, FetchMessages: 256}))
		time.Sleep(time.Second)
		synctest.Wait()
		if w := run.part(t, 0).Waits; w != pipeline.WaitReplay {
			t.Fatalf("fetching waits for %v, want MaxReplay", w)
		}
		busy := held()
		time.Sleep(time.Minute)
		synctest.Wait()
		freed := (busy - held()) / partitions
		t.Logf("freed for each partition: %d bytes", freed)
		if freed < 30_000 {
			t.Errorf("freed for each partition: %d bytes after a minute, want most of the 256 messages' structs", freed)
		}
		close(let)
		time.Sleep(time.Minute)
		if s := run.Snapshot(); s.Settled != 300*partitions {
			t.Errorf("%d messages settled, want all", s.Settled)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func held() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An interrupted Fetch loses nothing. A Fetch that returns messages despite the interrupt is not interrupted.
func TestPartitionContinuesAfterAnInterruptedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		log := memory.NewLog("posts", 1)
		put := func(from, n int) {
			for i, m := range keysOf(n, 3) {
				l.put(0, int64(from+i), string(m.Key))
			}
			log.Append(0, keysOf(n, 3)...)
		}
		src := &fetches{Source: watch(t, memory.NewSource(memory.Config{}, log), l)}
		put(0, 10)
		run := start(t, pipeline.From(src).Handle(l.handler(nothing)))
		time.Sleep(time.Hour)
		synctest.Wait()
		if src.calls != 3 { // the batch, the interrupted call, and the call after it
			t.Errorf("Fetch was called %d times in an idle hour, want 3", src.calls)
		}
		put(10, 10)
		time.Sleep(restAfter - time.Nanosecond)
		put(20, 10) // at the moment of the interrupt
		time.Sleep(time.Hour)
		l.checkAllSettled()
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

const restAfter = 5 * time.Second // same as in the pipeline

// fetches is a source that counts the calls of Fetch.
type fetches struct {
	source.Source
	calls int
}

func (s *fetches) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return &fetched{p, s}, nil
}

type fetched struct {
	source.Partition
	s *fetches
}

func (p *fetched) Fetch(ctx context.Context, b *source.Batch) error {
	p.s.calls++
	return p.Partition.Fetch(ctx, b)
}

// I6: an interrupted Fetch does not count as a batch under way, which would leave no room for the next one.
func TestPartitionWithABlockedKeyContinuesAfterAnInterruptedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error {
				if string(m.Key) == "blocked" {
					return errors.New("no")
				}
				return nil
			})).OnFailure(pipeline.Block).Limits(pipeline.Limits{InFlight: 100}))
		log.Append(0, keyed("blocked"))
		time.Sleep(time.Hour)
		log.Append(0, keyed("other"))
		time.Sleep(time.Minute)
		if p := run.part(t, 0); p.Settled != 1 || p.Parked != 1 || p.Waits != pipeline.WaitSource {
			t.Errorf("I6: %d settled, %d parked, fetching waits for %v; want 1, 1 and the source", p.Settled, p.Parked, p.Waits)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
