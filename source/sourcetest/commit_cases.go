package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// commitCases test that the next owner begins with the committed progress.
func commitCases() []Case {
	return []Case{
		{"RestoredIsWhatWasCommitted", "A restored frontier or range that is too far loses messages. One that is too short handles settled messages again.", restoredIsWhatWasCommitted},
		{"CommitIsSeenByNextOwner", "The last commit counts. An older one handles settled messages again.", commitIsSeenByNextOwner},
		{"CommitOfManyPartitionsAtOnce", "A pipeline commits all partitions on a common tick. A commit must not wait for a partition that has nothing to commit.", commitOfManyPartitionsAtOnce},
		{"EpochGrows", "A store refuses the writes of an old owner by their epoch. Epochs have to grow across hand-overs and across restarts of all members.", epochGrows},
		{"RecreatedLogIsNotSkipped", "A stream that was deleted and created again is another log. Progress of the old log would skip its messages.", recreatedLogIsNotSkipped},
		{"LogRecreatedUnderItsOwner", "An owner that goes on in the new log at its old position skips messages.", logRecreatedUnderItsOwner},
	}
}

// restores checks the restored progress of an ownership.
func (n *holding) restores(ctx context.Context, frontier int64, ahead ...commit.Range) error {
	if n.m.h.env.Withholds {
		return n.begins(ctx, &commit.Progress{Frontier: frontier, Ahead: ahead})
	}
	if r := n.part.Restored(); r.Frontier != frontier || !slices.Equal(r.Ahead, ahead) {
		return fmt.Errorf("%v: restored frontier %d and ranges %v, want %d and %v",
			n.part.ID(), r.Frontier, r.Ahead, frontier, ahead)
	}
	return nil
}

// begins is restores for a log that withholds settled messages: it checks the first message of the new ownership. The next
// read returns that message again.
func (n *holding) begins(ctx context.Context, settled *commit.Progress) error {
	if r := n.part.Restored(); r.Frontier != 0 || len(r.Ahead) > 0 {
		return fmt.Errorf("%v: restored frontier %d and ranges %v, want none: Env.Withholds is set",
			n.part.ID(), r.Frontier, r.Ahead)
	}
	n.settled = settled
	want, known := n.m.h.firstUnsettled(n.part.ID().Partition, 0, settled)
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !known {
		// No message that was seen before may come. Others may, if there are any.
		timer := time.AfterFunc(n.m.h.env.Patience, func() { cancel(errEnough) })
		defer timer.Stop()
	}
	msgs, err := n.read(reading, 1)
	switch {
	case err != nil && !known && errors.Is(err, errEnough):
		return nil
	case err != nil:
		return err
	case settled.Settled(msgs[0].Offset), known && msgs[0].Offset != want:
		return fmt.Errorf("%v: fetched offset %d first, although frontier %d and ranges %v are committed", n.part.ID(), msgs[0].Offset,
			settled.Frontier, settled.Ahead)
	}
	n.peeked = append(n.peeked, msgs...)
	return nil
}

func restoredIsWhatWasCommitted(ctx context.Context, h *harness) error {
	n, msgs, err := h.reader(ctx, 30)
	if err != nil {
		return err
	}
	at := func(i int) int64 { return msgs[i].Offset }
	log := n.part.Restored().Log
	ahead := []commit.Range{{From: at(8), To: at(10)}, {From: at(15), To: at(16)}, {From: at(20), To: at(29) + 1}}
	if err := n.commit(ctx, at(5), ahead...); err != nil {
		return err
	}
	// Restart twice: an owner that commits nothing must not lose the progress.
	for range 2 {
		if n, err = h.restart(ctx, n); err != nil {
			return err
		}
		if err := n.restores(ctx, at(5), ahead...); err != nil {
			return err
		}
		if got := n.part.Restored().Log; got != log {
			return fmt.Errorf("%v: restored log %q, want %q", n.part.ID(), got, log)
		}
	}
	return n.replays(ctx, 5, 30)
}

// replays reads a partition of total messages and checks that all messages with a number of at least from come, in order. The
// source may leave out messages that the restored ranges cover.
func (n *holding) replays(ctx context.Context, from, total int) error {
	partition, restored := n.part.ID().Partition, n.part.Restored()
	if n.settled != nil {
		restored = n.settled
	}
	position := int64(0)
	for next := from; next < total; {
		if n.settled != nil {
			if _, more := n.m.h.firstUnsettled(partition, position, n.settled); !more {
				return nil // the log withholds the rest
			}
		}
		msgs, err := n.read(ctx, 1)
		if err != nil {
			return fmt.Errorf("wait for message %d: %w", next, err)
		}
		got := -1
		for i := next; i < total; i++ {
			if sees(msgs, partition, i) == nil {
				got = i
				break
			}
		}
		if got < 0 {
			return sees(msgs, partition, next)
		}
		if n.settled != nil && n.settled.Settled(msgs[0].Offset) {
			return fmt.Errorf("%v: fetched message %d, which is settled", n.part.ID(), got)
		}
		if got > next && len(restored.Ahead) == 0 {
			return fmt.Errorf("%v: fetched message %d, want message %d", n.part.ID(), got, next)
		}
		if got > next && !restored.Settled(msgs[0].Offset-1) {
			return fmt.Errorf("%v: fetched message %d, but %d was not settled", n.part.ID(), got, got-1)
		}
		next, position = got+1, msgs[0].Offset+1
	}
	return nil
}

func commitIsSeenByNextOwner(ctx context.Context, h *harness) error {
	n, err := h.owner(ctx, 20)
	if err != nil {
		return err
	}
	for round := range 3 {
		msgs, err := n.read(ctx, 6)
		if err != nil {
			return err
		}
		if err := sees(msgs, 0, 6*round); err != nil {
			return err
		}
		// Each commit settles more than the one before it: by a range, then up to the position.
		if err := n.commit(ctx, msgs[2].Offset); err != nil {
			return err
		}
		if err := n.commit(ctx, msgs[2].Offset, commit.Range{From: msgs[4].Offset, To: msgs[5].Offset}); err != nil {
			return err
		}
		if err := n.commit(ctx, n.position); err != nil {
			return err
		}
		position := n.position
		if n, err = h.restart(ctx, n); err != nil {
			return err
		}
		if err := n.restores(ctx, position); err != nil {
			return err
		}
	}
	return n.replays(ctx, 18, 20)
}

func commitOfManyPartitionsAtOnce(ctx context.Context, h *harness) error {
	for p := range h.env.Partitions {
		if err := h.produce(int32(p), 10+p); err != nil {
			return err
		}
	}
	m, all, err := h.joinAlone(ctx)
	if err != nil {
		return err
	}
	for p, n := range all {
		if _, err := n.read(ctx, 10+p); err != nil {
			return err
		}
	}
	// Commit all partitions but the last, several times.
	want := make([]int64, len(all))
	for p, n := range all {
		want[p] = n.part.Restored().Frontier
	}
	for round := range 3 {
		var group sync.WaitGroup
		errs := make([]error, len(all))
		for p, n := range all[:len(all)-1] {
			want[p] = n.position - int64(2-round)
			group.Go(func() { errs[p] = n.commit(ctx, want[p]) })
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	if err := m.leave(ctx); err != nil {
		return err
	}
	if m, err = h.join(ctx); err != nil {
		return err
	}
	if all, err = m.holdAll(ctx); err != nil {
		return err
	}
	for p, n := range all {
		if err := n.restores(ctx, want[p]); err != nil {
			return err
		}
	}
	return nil
}

func epochGrows(ctx context.Context, h *harness) error {
	if err := h.produce(0, 10); err != nil {
		return err
	}
	// The harness also compares the epoch of each owner with those of all earlier owners that have committed.
	var epochs []int64
	n, err := h.only(ctx, 0)
	if err != nil {
		return err
	}
	for range 4 {
		if _, err := n.read(ctx, 2); err != nil {
			return err
		}
		if err := n.commit(ctx, n.position); err != nil {
			return err
		}
		epochs = append(epochs, n.part.ID().Epoch)
		if n, err = h.restart(ctx, n); err != nil {
			return err
		}
	}
	if err := n.commit(ctx, n.position); err != nil {
		return err
	}
	epochs = append(epochs, n.part.ID().Epoch)
	// In the last hand-over the next owner joins before the old one leaves, where two members are possible.
	old := n
	if h.env.Alone {
		n, err = h.restart(ctx, old)
	} else {
		n, err = h.takenOver(ctx, old)
	}
	if err != nil {
		return err
	}
	epochs = append(epochs, n.part.ID().Epoch)
	for i := 1; i < len(epochs); i++ {
		if epochs[i] <= epochs[i-1] {
			return fmt.Errorf("%s/0: the epochs are %v, want them to grow", h.env.Stream, epochs)
		}
	}
	return nil
}

// takenOver joins a second member, lets the owner leave, and takes the next ownership of the partition.
func (h *harness) takenOver(ctx context.Context, old *holding) (*holding, error) {
	if _, err := h.join(ctx); err != nil {
		return nil, err
	}
	if err := old.letGo(ctx); err != nil {
		return nil, err
	}
	if err := old.m.leave(ctx); err != nil {
		return nil, err
	}
	return h.next(ctx, old)
}

func recreatedLogIsNotSkipped(ctx context.Context, h *harness) error {
	if err := need(h.env.Recreate != nil, "way to make the log again (Env.Recreate)"); err != nil {
		return err
	}
	n, msgs, err := h.reader(ctx, 30)
	if err != nil {
		return err
	}
	err = n.commit(ctx, msgs[10].Offset, commit.Range{From: msgs[15].Offset, To: msgs[20].Offset})
	if err != nil {
		return err
	}
	if err := n.m.leave(ctx); err != nil {
		return err
	}
	if err := h.recreate(); err != nil {
		return err
	}
	h.sent[0] = 1000 // so that the messages differ from those of the old log
	if err := h.produce(0, 30); err != nil {
		return err
	}
	old := n.part.Restored().Log
	if n, err = h.only(ctx, 0); err != nil {
		return err
	}
	return n.readsNewLog(ctx, old)
}

// readsNewLog checks that an ownership begins at the first message of a new log, which has 30 messages numbered from 1000.
func (n *holding) readsNewLog(ctx context.Context, old string) error {
	if r := n.part.Restored(); !n.m.h.env.Withholds && r.Log == old || len(r.Ahead) > 0 {
		return fmt.Errorf("%v: restored log %q and ranges %v, want another log than %q and no ranges",
			n.part.ID(), r.Log, r.Ahead, old)
	}
	msgs, err := n.read(ctx, 30)
	if err != nil {
		return err
	}
	return sees(msgs, n.part.ID().Partition, 1000)
}

func logRecreatedUnderItsOwner(ctx context.Context, h *harness) error {
	if err := need(h.env.Recreate != nil, "way to make the log again (Env.Recreate)"); err != nil {
		return err
	}
	n, err := h.owner(ctx, 10)
	if err != nil {
		return err
	}
	if _, err := n.read(ctx, 10); err != nil {
		return err
	}
	if err := n.commit(ctx, n.position); err != nil {
		return err
	}
	if err := h.recreate(); err != nil {
		return err
	}
	h.sent[0] = 1000
	if err := h.produce(0, 30); err != nil {
		return err
	}
	// The old ownership has to end: it is lost, or Fetch fails. It must not return messages of the new log.
	if msgs, err := n.read(ctx, 1); err == nil {
		return fmt.Errorf("%v: fetched %q, a message of another log", n.part.ID(), msgs[0].Value)
	} else if ctx.Err() != nil {
		return err
	}
	// The last commit may fail or not. It must not reach the new log.
	_, _ = n.part.Commit(ctx, n.progress(n.position))
	old := n.part.Restored().Log
	n.m.gone()
	if n, err = h.restart(ctx, n); err != nil {
		return err
	}
	return n.readsNewLog(ctx, old)
}
