package keyed_test

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keystrand/keystrand/keyed"
)

// payload has about the size of a pipeline's item.
type payload struct {
	words [25]uint64
}

const (
	benchKeys   = 10_000
	benchWindow = 20_000
	benchBatch  = 500
)

// BenchmarkExecutor runs empty turns over 10,000 keys with at most 20,000 items in flight; one op is one item. It
// compares the executor with one channel a worker, keys sharded by hash, carrying the same items. All workers are made
// busy once before.
//
//	go test -run '^$' -bench BenchmarkExecutor -cpu 1,2 ./keyed
func BenchmarkExecutor(b *testing.B) {
	keys := make([]string, benchKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	for _, workers := range []int{1, 16, 256, 10_000} {
		b.Run(fmt.Sprintf("lanes/keys=%d/workers=%d", benchKeys, workers), func(b *testing.B) { benchLanes(b, keys, workers) })
		b.Run(fmt.Sprintf("channels/keys=%d/workers=%d", benchKeys, workers), func(b *testing.B) { benchChannels(b, keys, workers) })
	}
}

func benchLanes(b *testing.B, keys []string, workers int) {
	b.Helper()
	var busy atomic.Bool
	var arrived sync.WaitGroup
	gate := make(chan struct{})
	busy.Store(true)
	room := newWindow(benchWindow)
	e, err := keyed.New(keyed.Config[payload]{
		Workers: workers,
		Run: func(t *keyed.Turn[payload]) keyed.Result {
			if busy.Load() {
				arrived.Done()
				<-gate
			}
			return keyed.Result{Done: len(t.Items)}
		},
		Finish: func(_ *keyed.Queue[payload], items []*payload) { room.give(len(items)) },
	})
	if err != nil {
		b.Fatal(err)
	}
	q := e.Open(keyed.ID{Name: "bench"}, nil)
	batch := q.Batch()
	submit := func(n, from int) {
		room.take(n)
		for i := range n {
			p := batch.Add(keys[(from+i)*7919%len(keys)])
			p.words[0] = uint64(i)
		}
		if err := q.Submit(batch); err != nil {
			b.Fatal(err)
		}
	}
	arrived.Add(workers)
	for i := 0; i < workers; i += min(benchBatch, workers) {
		submit(min(benchBatch, workers-i), i)
	}
	arrived.Wait()
	busy.Store(false)
	close(gate)
	for i := 0; i < 4*benchWindow; i += benchBatch {
		submit(benchBatch, i)
	}
	room.await()

	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += benchBatch {
		submit(min(benchBatch, b.N-i), i)
	}
	room.await()
	b.StopTimer()
	if err := e.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func benchChannels(b *testing.B, keys []string, workers int) {
	b.Helper()
	seed := maphash.MakeSeed()
	channels := make([]chan payload, workers)
	room := newWindow(benchWindow)
	var wg sync.WaitGroup
	for i := range channels {
		channels[i] = make(chan payload, max(benchWindow/workers, 4))
		wg.Go(func() {
			n := 0
			for range channels[i] {
				if n++; n == 64 || len(channels[i]) == 0 {
					room.give(n)
					n = 0
				}
			}
		})
	}
	send := func(n, from int) {
		room.take(n)
		for i := range n {
			key := keys[(from+i)*7919%len(keys)]
			var p payload
			p.words[0] = uint64(i)
			channels[maphash.String(seed, key)%uint64(workers)] <- p
		}
	}
	for i := 0; i < 4*benchWindow; i += benchBatch {
		send(benchBatch, i)
	}
	room.await()

	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += benchBatch {
		send(min(benchBatch, b.N-i), i)
	}
	room.await()
	b.StopTimer()
	for _, c := range channels {
		close(c)
	}
	wg.Wait()
}

// window bounds the items in flight. The submitter acquires places and the workers release them, many at a time.
type window struct {
	free  atomic.Int64
	want  atomic.Int64 // the submitter sleeps until free reaches it; 0 if it does not sleep
	size  int64
	awake chan struct{}
}

func newWindow(size int) *window {
	w := &window{size: int64(size), awake: make(chan struct{}, 1)}
	w.free.Store(int64(size))
	return w
}

func (w *window) take(n int) {
	w.until(int64(n))
	w.free.Add(-int64(n))
}

func (w *window) await() { w.until(w.size) }

func (w *window) until(n int64) {
	for w.free.Load() < n {
		w.want.Store(n)
		if w.free.Load() >= n {
			w.want.Store(0)
			return
		}
		<-w.awake
	}
}

func (w *window) give(n int) {
	free := w.free.Add(int64(n))
	if want := w.want.Load(); want > 0 && free >= want && w.want.CompareAndSwap(want, 0) {
		select {
		case w.awake <- struct{}{}:
		default:
		}
	}
}
