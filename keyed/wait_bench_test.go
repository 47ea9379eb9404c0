package keyed_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keystrand/keystrand/keyed"
)

// waiting is an item with its token, of about the size of a pipeline's item.
type waiting struct {
	token   keyed.Token[waiting]
	payload payload
}

// BenchmarkAwait runs turns that wait for Complete, over 10,000 keys with at most 20,000 items in flight; one op is one
// item. early: Complete comes before the turn returns. late: another goroutine completes up to the given number of
// tokens at once.
//
//	go test -run '^$' -bench BenchmarkAwait ./keyed
func BenchmarkAwait(b *testing.B) {
	b.Run("early/batch=1", func(b *testing.B) { benchAwait(b, 0) })
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("late/batch=%d", size), func(b *testing.B) { benchAwait(b, size) })
	}
}

// benchAwait completes tokens late, at most batch at once, or early, one by one, if that is 0.
func benchAwait(b *testing.B, size int) {
	b.Helper()
	room := newWindow(benchWindow)
	late := make(chan *keyed.Token[waiting], benchWindow)
	var e *keyed.Executor[waiting]
	complete := func(tokens ...*keyed.Token[waiting]) {
		for _, t := range tokens {
			t.Result = keyed.Result{Done: 1}
		}
		if err := e.Complete(tokens...); err != nil {
			b.Error(err)
		}
	}
	e, err := keyed.New(keyed.Config[waiting]{
		Workers: 16,
		Run: func(t *keyed.Turn[waiting]) keyed.Result {
			t.Await = &t.Items[0].token
			if size > 0 {
				late <- t.Await
			} else {
				complete(t.Await)
			}
			return keyed.Result{}
		},
		Finish: func(_ *keyed.Queue[waiting], items []*waiting) { room.give(len(items)) },
	})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tokens := make([]*keyed.Token[waiting], 0, size+1)
		for t := range late {
			tokens = append(tokens, t)
			if len(tokens) >= size || len(late) == 0 {
				complete(tokens...)
				tokens = tokens[:0]
			}
		}
	}()
	keys := make([]string, benchKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	q := e.Open(keyed.ID{Name: "bench"}, nil)
	batch := q.Batch()
	run := func(items int) {
		for i := 0; i < items; i += benchBatch {
			n := min(benchBatch, items-i)
			room.take(n)
			for j := range n {
				batch.Add(keys[(i+j)*7919%benchKeys]).payload.words[0] = uint64(i)
			}
			if err := q.Submit(batch); err != nil {
				b.Fatal(err)
			}
		}
		room.await()
	}
	run(10 * benchWindow)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
	b.StopTimer()
	if err := e.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	close(late)
	<-done
}
