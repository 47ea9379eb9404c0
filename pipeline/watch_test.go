package pipeline_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// Thousands of partitions may be idle at once: each costs one goroutine and little memory.
func TestIdlePartitionCostsOneGoroutineAndLittleMemory(t *testing.T) {
	for _, c := range []struct {
		name  string
		batch int
	}{{"never a message", 0}, {"after a batch", 2}} {
		t.Run(c.name, func(t *testing.T) {
			const partitions = 2000
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("tables", partitions)
				if c.batch > 0 {
					for n := range int32(partitions) {
						log.Append(n, keysOf(c.batch, c.batch)...)
					}
				}
				before, goroutines := held(), runtime.NumGoroutine()
				run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Handle(keystrand.HandlerFunc(nothing)).Limits(pipeline.Limits{Workers: 1}))
				time.Sleep(30 * time.Second)
				synctest.Wait()
				bytes, more := (held()-before)/partitions, runtime.NumGoroutine()-goroutines
				t.Logf("each partition: %d bytes of heap; %d goroutines for %d partitions", bytes, more, partitions)
				if bytes > 4_200 || more > partitions*11/10 {
					t.Errorf("each partition: %d bytes of heap; %d goroutines for %d partitions; want at most 4,200 and one, and few for all together", bytes, more, partitions)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// Watchers receive for many partitions: each of them must be released at once when it is revoked, in any order.
func TestEachOfManyPartitionsIsReleasedAtOnceWhenRevoked(t *testing.T) {
	const partitions = 300
	synctest.Test(t, func(t *testing.T) {
		r := random(t, 7)
		log := memory.NewLog("tables", partitions)
		mem := memory.NewSource(memory.Config{}, log)
		src := watch(t, mem, nil)
		b := pipeline.From(src).Handle(keystrand.HandlerFunc(nothing))
		run := start(t, b)
		for n := range int32(partitions) {
			if n%3 == 0 {
				run.PausePartition("tables", n)
				log.Append(n, keyed("k")) // flow waits for the end of the pause
			}
		}
		time.Sleep(time.Minute)
		for i, n := range r.Perm(partitions) {
			began := time.Now()
			if i%2 == 0 {
				mem.Revoke("tables", int32(n))
			} else {
				mem.Lose("tables", int32(n))
			}
			synctest.Wait()
			if e := src.epochs(int32(n)); !e[0].isReleased() || len(e) != 2 || time.Since(began) != 0 {
				t.Errorf("partition %d: released %v, %d epochs, after %v; want it released and accepted again at once", n, e[0].isReleased(), len(e), time.Since(began))
			}
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// closes is a source that closes the Leaving channel of its first partition when it is accepted.
type closes struct {
	source.Source
	calls atomic.Int64 // of Leaving
	after bool
}

type closed struct {
	source.Partition
	s     *closes
	leave chan source.Leave
}

func (s *closes) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil || s.after {
		return p, err
	}
	s.after = true
	c := &closed{p, s, make(chan source.Leave)}
	close(c.leave)
	return c, nil
}

func (p *closed) Leaving() <-chan source.Leave { p.s.calls.Add(1); return p.leave }

// A source that closes Leaving breaks the contract. Its partition is released once, and no watcher spins meanwhile.
func TestClosedLeavingIsReceivedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("a"))
		src := &closes{Source: memory.NewSource(memory.Config{}, log)}
		run := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error {
			time.Sleep(10 * time.Second) // if a watcher spins, time stands still
			return nil
		})))
		time.Sleep(time.Minute)
		if c, n := log.Group("").Committed(0), src.calls.Load(); c == nil || c.Frontier != 1 || n != 1 {
			t.Errorf("committed %+v, Leaving called %d times; want 1 and once", c, n)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// late is a source whose Accept returns a partition just when its ctx ends.
type late struct {
	source.Source
	accepted bool
}

func (s *late) Accept(ctx context.Context) (source.Partition, error) {
	<-ctx.Done()
	if s.accepted {
		return nil, context.Cause(ctx)
	}
	s.accepted = true
	return s.Source.Accept(context.WithoutCancel(ctx))
}

// I7: the fence of a partition that is accepted after the end of Run's ctx waits for no tick.
func TestPartitionAcceptedLateIsReleasedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		var out buffer
		run := start(t, pipeline.From(watch(t, unresponsive{&late{Source: memory.NewSource(memory.Config{}, memory.NewLog("posts", 1))}, let}, nil)).
			Handle(keystrand.HandlerFunc(nothing)).Timing(pipeline.Timing{CommitInterval: time.Hour}).Logger(out.logger()))
		run.cancel(nil)
		time.Sleep(time.Second)
		if !out.has("releasing partition") {
			t.Error("the release has not begun after 1 s")
		}
		close(let)
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// unresponsive is a source whose Fetch ignores the end of its ctx and the revocation, until let is closed.
type unresponsive struct {
	source.Source
	let chan struct{}
}

type unresponsivePartition struct {
	source.Partition
	let chan struct{}
}

func (s unresponsive) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return unresponsivePartition{p, s.let}, nil
}

func (p unresponsivePartition) Fetch(ctx context.Context, b *source.Batch) error {
	err := p.Partition.Fetch(ctx, b)
	if err != nil {
		<-p.let
	}
	return err
}

// I7: the release begins at once although Fetch does not return, and ends when Fetch has.
func TestReleaseBeginsAtOnceAlthoughFetchDoesNotReturn(t *testing.T) {
	for _, why := range []string{"revoked", "lost", "stopped"} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(10, 3)...)
				mem := memory.NewSource(memory.Config{}, log)
				let := make(chan struct{})
				var out buffer
				run := start(t, pipeline.From(watch(t, unresponsive{mem, let}, nil)).Handle(keystrand.HandlerFunc(nothing)).
					Timing(pipeline.Timing{CommitInterval: time.Hour, StuckAfter: time.Second}).Logger(out.logger()))
				time.Sleep(20 * time.Second)
				switch why {
				case "revoked":
					mem.Revoke("posts", 0)
				case "lost":
					mem.Lose("posts", 0)
				default:
					run.cancel(nil)
				}
				synctest.Wait()
				if !out.has("releasing partition") {
					t.Error("the release has not begun")
				}
				if c := log.Group("").Committed(0); why != "lost" && (c == nil || c.Frontier != 10) {
					t.Errorf("committed %+v, want 10", c)
				}
				time.Sleep(time.Minute)
				if !out.has("a call has not returned") || out.has("partition released") {
					t.Error("want the log to report the call, and the partition kept")
				}
				if why == "stopped" {
					wantStuck(t, run, "the key function, or Fetch or Leaving of the source for posts/0#1")
				}
				close(let)
				synctest.Wait()
				if !out.has("partition released") {
					t.Error("partition not released after Fetch has returned")
				}
				if err := run.stop(); err != nil && why != "stopped" {
					t.Fatal(err)
				}
			})
		})
	}
}
