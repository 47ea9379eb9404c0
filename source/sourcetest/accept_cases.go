package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand/source"
)

// acceptCases are about Accept, Close and what an ownership begins with.
func acceptCases() []Case {
	return []Case{
		{"AcceptReturnsEveryPartition", "a partition that nobody is given is never read, and one given twice is handled twice", acceptReturnsEveryPartition},
		{"AcceptReturnsWhenCtxEnds", "a pipeline that stops must not wait for a partition that never comes", acceptReturnsWhenCtxEnds},
		{"ReleaseWithoutFetch", "a pipeline that stops while it starts gives partitions back untouched", releaseWithoutFetch},
		{"FiniteEndsWithEOF", "a backfill must end by itself, after its last message and not before", finiteEndsWithEOF},
		{"CloseEndsGoroutines", "a process that starts and stops pipelines must not fill up with what they leave behind", closeEndsGoroutines},
	}
}

func acceptReturnsEveryPartition(ctx context.Context, h *harness) error {
	m, all, err := h.joinAlone(ctx)
	if err != nil {
		return err
	}
	if err := h.patience(ctx); err != nil {
		return err
	}
	if got := len(m.held()); got != h.env.Partitions {
		return fmt.Errorf("%d partitions were accepted, want %d", got, h.env.Partitions)
	}
	for p, n := range all {
		id, r := n.part.ID(), n.part.Restored()
		switch {
		case id.Stream != h.env.Stream || id.Partition != int32(p):
			return fmt.Errorf("accepted %v, want partition %d of %s", id, p, h.env.Stream)
		case id.Epoch < 1:
			return fmt.Errorf("accepted %v: want an epoch of at least 1", id)
		case r == nil:
			return fmt.Errorf("%v: Restored is nil", id)
		case r.Epoch != id.Epoch:
			return fmt.Errorf("%v: the epoch of Restored is %d", id, r.Epoch)
		case len(r.Ahead) != 0:
			return fmt.Errorf("%v: Restored has ranges %v, but nothing was committed", id, r.Ahead)
		}
	}
	return nil
}

func acceptReturnsWhenCtxEnds(ctx context.Context, h *harness) error {
	// Once while a partition may be on its way, once while none will ever come.
	src, err := h.env.Join()
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errEnough)
	if p, err := src.Accept(ended); !errors.Is(err, errEnough) {
		return fmt.Errorf("accept with a ctx that has ended: %v, %w; want its cause", p, given(err))
	}
	m, err := h.joinBy(ctx, func() (source.Source, error) { return src, nil })
	if err != nil {
		return err
	}
	if _, err := m.holdAll(ctx); err != nil {
		return err
	}
	if err := m.stopAccepting(ctx); err != nil {
		return err
	}
	if err := m.acceptError(); !errors.Is(err, errEnough) {
		return fmt.Errorf("the call of Accept returned %w, want the cause of its ctx", given(err))
	}
	return nil
}

func releaseWithoutFetch(ctx context.Context, h *harness) error {
	if err := h.produce(0, 3); err != nil {
		return err
	}
	for range 3 {
		m, err := h.join(ctx)
		if err != nil {
			return err
		}
		if _, err := m.hold(ctx, 0); err != nil {
			return err
		}
		if err := m.leave(ctx); err != nil {
			return err
		}
	}
	m, err := h.join(ctx)
	if err != nil {
		return err
	}
	n, err := m.hold(ctx, 0)
	if err != nil {
		return err
	}
	msgs, err := n.read(ctx, 3)
	if err != nil {
		return err
	}
	return sees(msgs, 0, 0)
}

func finiteEndsWithEOF(ctx context.Context, h *harness) error {
	if err := need(h.env.JoinFinite != nil, "finite log (Env.JoinFinite)"); err != nil {
		return err
	}
	for p := range h.env.Partitions {
		if err := h.produce(int32(p), 10+p); err != nil {
			return err
		}
	}
	m, err := h.joinBy(ctx, h.env.JoinFinite)
	if err != nil {
		return err
	}
	all, err := m.holdAll(ctx)
	if err != nil {
		return err
	}
	for p, n := range all {
		msgs, err := n.read(ctx, 10+p)
		if err != nil {
			return err
		}
		if err := sees(msgs, int32(p), 0); err != nil {
			return err
		}
		for range 2 {
			if err := n.end(ctx); err != nil {
				return err
			}
		}
		if err := n.commit(ctx, n.position); err != nil {
			return err
		}
		if err := n.letGo(ctx); err != nil {
			return err
		}
	}
	select {
	case <-m.ended:
	case <-ctx.Done():
		return fmt.Errorf("the call of Accept has not returned after the last partition was read, committed and released: %w", context.Cause(ctx))
	}
	if err := m.acceptError(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the call of Accept returned %w, want io.EOF", given(err))
	}
	return nil
}

// end fetches until io.EOF and accepts moves of the position, but no message.
func (n *holding) end(ctx context.Context) error {
	for {
		b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
		err := n.fetch(ctx, &b)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%v: fetch at the end: %w; want io.EOF", n.part.ID(), given(err))
		case len(b.Messages) > 0:
			return fmt.Errorf("%v: fetch at the end brings %d messages, want io.EOF", n.part.ID(), len(b.Messages))
		}
	}
}

func closeEndsGoroutines(ctx context.Context, h *harness) error {
	round := func() error {
		m, err := h.join(ctx)
		if err != nil {
			return err
		}
		all, err := m.holdAll(ctx)
		if err != nil {
			return err
		}
		if err := h.produce(0, 5); err != nil {
			return err
		}
		if _, err := all[0].read(ctx, 5); err != nil {
			return err
		}
		if err := all[0].commit(ctx, all[0].position); err != nil {
			return err
		}
		return m.leave(ctx)
	}
	// The first round is for what a log starts once; its goroutines may take a moment to end.
	if err := round(); err != nil {
		return err
	}
	if err := h.patience(ctx); err != nil {
		return err
	}
	const rounds = 5
	before := goroutines()
	for range rounds {
		if err := round(); err != nil {
			return err
		}
	}
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		now := goroutines()
		for id := range before {
			delete(now, id)
		}
		if len(now) < rounds {
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("%d members have closed and left %d goroutines behind: %w\n%s", rounds, len(now), err,
				strings.Join(slices.Collect(maps.Values(now)), "\n\n"))
		}
	}
}

// goroutines returns the stacks of all goroutines by the lines that name them. The number of goroutines would not do:
// one that ends meanwhile would make up for one that is left behind.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := make(map[string]string)
	for stack := range strings.SplitSeq(strings.TrimSpace(string(buf)), "\n\n") {
		name, _, _ := strings.Cut(stack, " [")
		all[name] = stack
	}
	return all
}
