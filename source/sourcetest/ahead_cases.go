package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// Cases of what a source fetches ahead of its Fetch.

func unfetchedPartitionStopsNoOther(ctx context.Context, h *harness) error {
	const total, size = 1_500, 1_000
	large := make([]keystrand.Message, total)
	for i := range large {
		large[i] = keystrand.Message{Key: []byte("large"), Value: bytes.Repeat([]byte("x"), size)}
	}
	if err := h.send(0, large...); err != nil {
		return err
	}
	const rounds, each = 3, 200
	for p := 1; p < h.env.Partitions && h.env.endless() != nil; p++ {
		if err := h.produce(int32(p), rounds*each); err != nil {
			return err
		}
	}
	m, err := h.join(ctx)
	if err != nil {
		return err
	}
	unread, err := m.hold(ctx, 0)
	if err != nil {
		return err
	}
	// Fetch one message, so that a source that reads ahead starts to.
	if err := unread.fetch(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1 << 20}); err != nil {
		return err
	}
	for p := 1; p < h.env.Partitions; p++ {
		n, err := m.hold(ctx, int32(p))
		if err != nil {
			return err
		}
		for round := range rounds {
			if h.env.endless() == nil {
				if err := h.produce(int32(p), each); err != nil {
					return err
				}
			}
			msgs, err := n.read(ctx, each)
			if err != nil {
				return err
			}
			if err := sees(msgs, int32(p), round*each); err != nil {
				return err
			}
			if err := n.commit(ctx, n.position); err != nil {
				return err
			}
		}
	}
	_, err = unread.read(ctx, total-1)
	return err
}

func prefetchEndsWithRelease(ctx context.Context, h *harness) error {
	for p := range h.env.Partitions {
		if err := h.produce(int32(p), 100); err != nil {
			return err
		}
	}
	src, err := h.open()
	if err != nil {
		return err
	}
	f, ok := src.(source.Prefetcher)
	if err := need(ok, "source.Prefetcher"); err != nil {
		return errors.Join(err, src.Close())
	}
	f.LimitPrefetch(1 << 20) // before the first Accept
	m, err := h.joinBy(ctx, func() (source.Source, error) { return src, nil })
	if err != nil {
		return err
	}
	all, err := m.holdAll(ctx)
	if err != nil {
		return err
	}
	for _, n := range all {
		if _, err := n.read(ctx, 10); err != nil { // the rest may be held
			return err
		}
		if held := f.Prefetched(); held < 0 {
			return fmt.Errorf("%v: Prefetched is %d, want at least 0", n.part.ID(), held)
		}
	}
	for _, n := range all {
		if err := n.letGo(ctx); err != nil {
			return err
		}
	}
	if held := f.Prefetched(); held != 0 {
		return fmt.Errorf("after the last Release Prefetched is %d, want 0", held)
	}
	return nil
}
