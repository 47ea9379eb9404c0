package sourcetest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// holding is one ownership as the suite sees it. It checks every batch and forwards the values of Leaving.
type holding struct {
	m        *member
	part     source.Partition
	number   int32               // of the partition in the suite; -1: the Env does not name it
	order    int                 // index among all ownerships, set by the harness
	leaves   chan source.Leave   // the values of Leaving, forwarded
	over     chan struct{}       // closed when Release has returned
	position int64               // used by the goroutine of the case alone, as are the next two
	peeked   []keystrand.Message // read by begins, returned by the next read
	settled  *commit.Progress    // committed by earlier owners, where the log withholds it

	// Guarded by the harness's mu.
	gone      bool // it is lost, or its member has crashed: others may own the partition
	releasing bool // Release was called
	committed bool // Commit was called
	backwards bool // its epoch is not greater than an earlier one; recorded once

	mu    sync.Mutex
	taken bool // the case has taken it and will release it
	asked bool // Leaving has sent a value
	done  bool // Release was called or is about to be
}

func newHolding(m *member, p source.Partition) *holding {
	number, known := m.h.numbers[nameOf(p.ID())]
	if !known {
		number = -1
	}
	return &holding{
		m: m, part: p, number: number, leaves: make(chan source.Leave, 8), over: make(chan struct{}),
		position: p.Restored().Frontier,
	}
}

// watch checks and forwards the values of Leaving until Release. If the case has not taken the holding, watch releases it at
// the first value.
func (n *holding) watch(ctx context.Context) {
	var said []source.Leave
	for {
		select {
		case <-n.over:
			return
		case leave, open := <-n.part.Leaving():
			if !open {
				n.m.h.wrong(fmt.Errorf("%v: the channel of Leaving is closed, want it open for ever", n.part.ID()))
				return
			}
			said = append(said, leave)
			if len(said) > 2 || (len(said) == 2 && (said[0].Lost || !said[1].Lost)) {
				n.m.h.wrong(fmt.Errorf("%v: Leaving has sent %+v, want revoked, then lost, or only one of them", n.part.ID(), said))
				return
			}
			if leave.Lost {
				n.m.h.mu.Lock()
				n.gone = true
				n.m.h.mu.Unlock()
			}
			n.leaves <- leave
			if n.mine() {
				if err := n.release(ctx); err != nil && !leave.Lost {
					n.m.h.wrong(fmt.Errorf("release of %v: %w", n.part.ID(), err))
				}
				return
			}
		}
	}
}

// take gives the holding to the case. It returns false if the case has taken it before or if it is being released.
func (n *holding) take() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.taken || n.done {
		return false
	}
	n.taken = true
	return true
}

// giveBack undoes take: the holding is released as soon as it is revoked.
func (n *holding) giveBack(ctx context.Context) error {
	n.mu.Lock()
	n.taken = false
	now := n.asked && !n.done
	n.done = n.done || now
	n.mu.Unlock()
	if !now {
		return nil
	}
	return n.release(ctx)
}

// mine records that Leaving has sent a value and reports whether watch has to release the holding.
func (n *holding) mine() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = true
	if n.taken || n.done {
		return false
	}
	n.done = true
	return true
}

// letGo releases the holding unless that was done before.
func (n *holding) letGo(ctx context.Context) error {
	n.mu.Lock()
	done := n.done
	n.done = true
	n.mu.Unlock()
	if done {
		return nil
	}
	return n.release(ctx)
}

// release calls Release. Cases call letGo instead.
func (n *holding) release(ctx context.Context) error {
	h := n.m.h
	h.mu.Lock()
	n.releasing = true
	h.mu.Unlock()
	defer close(n.over)
	return n.part.Release(ctx)
}

// left waits for the next value of Leaving.
func (n *holding) left(ctx context.Context) (source.Leave, error) {
	select {
	case leave := <-n.leaves:
		return leave, nil
	case <-ctx.Done():
		return source.Leave{}, fmt.Errorf("%v: Leaving has sent nothing: %w", n.part.ID(), context.Cause(ctx))
	}
}

// read fetches count messages.
func (n *holding) read(ctx context.Context, count int) ([]keystrand.Message, error) {
	from := min(count, len(n.peeked))
	all := slices.Clone(n.peeked[:from])
	n.peeked = n.peeked[from:]
	for len(all) < count {
		b := source.Batch{MaxMessages: min(64, count-len(all)), MaxBytes: 1 << 20}
		if err := n.fetch(ctx, &b); err != nil {
			return all, fmt.Errorf("%v: fetch after %d of %d messages: %w", n.part.ID(), len(all), count, err)
		}
		all = append(all, b.Messages...)
	}
	return all, nil
}

// fetch calls Fetch and checks the batch. Its messages become plain.
func (n *holding) fetch(ctx context.Context, b *source.Batch) error {
	if err := n.fetchAsIs(ctx, b); err != nil {
		return err
	}
	for i := range b.Messages {
		b.Messages[i] = n.m.h.plain(b.Messages[i])
	}
	return nil
}

// fetchAsIs is fetch, and leaves the messages as the source has made them.
func (n *holding) fetchAsIs(ctx context.Context, b *source.Batch) error {
	b.Next = -1
	if err := n.part.Fetch(ctx, b); err != nil {
		return err
	}
	id, at, bytes := n.part.ID(), n.position, 0
	for i := range b.Messages {
		m := &b.Messages[i]
		if m.Stream != id.Stream || m.Partition != id.Partition {
			return fmt.Errorf("%v: fetched a message of %s/%d", id, m.Stream, m.Partition)
		}
		if m.Offset < at {
			return fmt.Errorf("%v: fetched offset %d, want at least %d", id, m.Offset, at)
		}
		at = m.Offset + 1
		n.m.h.saw(n.number, m.Offset)
		bytes += m.Size()
	}
	switch {
	case b.Next < at:
		return fmt.Errorf("%v: Next is %d, want at least %d", id, b.Next, at)
	case len(b.Messages) == 0 && b.Next == n.position:
		return fmt.Errorf("%v: Fetch returned no messages and Next is still %d, want it to block until either comes", id, n.position)
	case len(b.Messages) > b.MaxMessages:
		return fmt.Errorf("%v: %d messages in a batch, want at most %d", id, len(b.Messages), b.MaxMessages)
	case bytes > b.MaxBytes && len(b.Messages) > 1:
		return fmt.Errorf("%v: %d bytes in a batch of %d messages, want at most %d", id, bytes, len(b.Messages), b.MaxBytes)
	}
	n.position = b.Next
	return nil
}

// progress makes progress of this ownership.
func (n *holding) progress(frontier int64, ahead ...commit.Range) *commit.Progress {
	r := n.part.Restored()
	return &commit.Progress{Log: r.Log, Epoch: n.part.ID().Epoch, Frontier: frontier, Ahead: ahead, At: r.At}
}

// commit calls Commit and checks the result. The progress is so small that every log can store all of it.
func (n *holding) commit(ctx context.Context, frontier int64, ahead ...commit.Range) error {
	n.m.h.mu.Lock()
	n.committed = true
	n.m.h.mu.Unlock()
	stored, err := n.part.Commit(ctx, n.progress(frontier, ahead...))
	if err != nil {
		return fmt.Errorf("%v: commit of %d: %w", n.part.ID(), frontier, err)
	}
	if want := (commit.Stored{Frontier: frontier}); stored != want {
		return fmt.Errorf("%v: commit returned %+v, want %+v", n.part.ID(), stored, want)
	}
	return nil
}

// finished reports whether the holding was released or is about to be.
func (n *holding) finished() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.done
}
