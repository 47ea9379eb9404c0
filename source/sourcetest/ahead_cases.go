package sourcetest

import (
	"bytes"
	"context"
	"errors"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// Cases of what a source fetches ahead of its Fetch.

func unfetchedPartitionStopsNoOther(ctx context.Context, h *harness) {
	const total, size = 1_500, 1_000
	large := make([]keystrand.Message, total)
	for i := range large {
		large[i] = keystrand.Message{Key: []byte("large"), Value: bytes.Repeat([]byte("x"), size)}
	}
	h.send(0, large...)
	const rounds, each = 3, 200
	for p := 1; p < h.env.Partitions && h.env.endless() != nil; p++ {
		h.produce(int32(p), rounds*each)
	}
	m := h.join(ctx)
	unread := m.hold(ctx, 0)
	// Fetch one message, so that a source that reads ahead starts to.
	check(unread.fetch(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1 << 20}))
	for p := 1; p < h.env.Partitions; p++ {
		n := m.hold(ctx, int32(p))
		for round := range rounds {
			if h.env.endless() == nil {
				h.produce(int32(p), each)
			}
			msgs := must(n.read(ctx, each))
			check(sees(msgs, int32(p), round*each))
			check(n.commit(ctx, n.position))
		}
	}
	must(unread.read(ctx, total-1))
}

func prefetchEndsWithRelease(ctx context.Context, h *harness) {
	for p := range h.env.Partitions {
		h.produce(int32(p), 100)
	}
	src := must(h.open())
	f, ok := src.(source.Prefetcher)
	if !ok {
		check(errors.Join(need(false, "source.Prefetcher"), src.Close()))
	}
	f.LimitPrefetch(1 << 20) // before the first Accept
	m := h.joinBy(ctx, func() (source.Source, error) { return src, nil })
	all := m.holdAll(ctx)
	for _, n := range all {
		must(n.read(ctx, 10)) // the rest may be held
		if held := f.Prefetched(); held < 0 {
			fail("%v: Prefetched is %d, want at least 0", n.part.ID(), held)
		}
	}
	for _, n := range all {
		check(n.letGo(ctx))
	}
	if held := f.Prefetched(); held != 0 {
		fail("after the last Release Prefetched is %d, want 0", held)
	}
}
