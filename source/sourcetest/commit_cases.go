package sourcetest

import (
	"context"
	"errors"
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
func (n *holding) restores(ctx context.Context, frontier int64, ahead ...commit.Range) {
	if n.m.h.env.Withholds {
		n.begins(ctx, &commit.Progress{Frontier: frontier, Ahead: ahead})
		return
	}
	if r := n.part.Restored(); r.Frontier != frontier || !slices.Equal(r.Ahead, ahead) {
		fail("%v: restored frontier %d and ranges %v, want %d and %v",
			n.part.ID(), r.Frontier, r.Ahead, frontier, ahead)
	}
}

// begins is restores for a log that withholds settled messages: it checks the first message of the new ownership. The next
// read returns that message again.
func (n *holding) begins(ctx context.Context, settled *commit.Progress) {
	if r := n.part.Restored(); r.Frontier != 0 || len(r.Ahead) > 0 {
		fail("%v: restored frontier %d and ranges %v, want none: Env.Withholds is set",
			n.part.ID(), r.Frontier, r.Ahead)
	}
	n.settled = settled
	want, known := n.m.h.firstUnsettled(n.number, 0, settled)
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
		return
	case err != nil:
		check(err)
	case settled.Settled(msgs[0].Offset), known && msgs[0].Offset != want:
		fail("%v: fetched offset %d first, although frontier %d and ranges %v are committed", n.part.ID(), msgs[0].Offset,
			settled.Frontier, settled.Ahead)
	}
	n.peeked = append(n.peeked, msgs...)
}

func restoredIsWhatWasCommitted(ctx context.Context, h *harness) {
	n, msgs := h.reader(ctx, 30)
	at := func(i int) int64 { return msgs[i].Offset }
	log := n.part.Restored().Log
	ahead := []commit.Range{{From: at(8), To: at(10)}, {From: at(15), To: at(16)}, {From: at(20), To: at(29) + 1}}
	check(n.commit(ctx, at(5), ahead...))
	// Restart twice: an owner that commits nothing must not lose the progress.
	for range 2 {
		n = h.restart(ctx, n)
		n.restores(ctx, at(5), ahead...)
		if got := n.part.Restored().Log; got != log {
			fail("%v: restored log %q, want %q", n.part.ID(), got, log)
		}
	}
	n.replays(ctx, 5, 30)
}

// replays reads a partition of total messages and checks that all messages with a number of at least from come, in order. The
// source may leave out messages that the restored ranges cover.
func (n *holding) replays(ctx context.Context, from, total int) {
	partition, restored := n.number, n.part.Restored()
	if n.settled != nil {
		restored = n.settled
	}
	position := int64(0)
	for next := from; next < total; {
		if n.settled != nil {
			if _, more := n.m.h.firstUnsettled(partition, position, n.settled); !more {
				return // the log withholds the rest
			}
		}
		msgs, err := n.read(ctx, 1)
		if err != nil {
			fail("wait for message %d: %w", next, err)
		}
		got := -1
		for i := next; i < total; i++ {
			if sees(msgs, partition, i) == nil {
				got = i
				break
			}
		}
		if got < 0 {
			check(sees(msgs, partition, next))
		}
		if n.settled != nil && n.settled.Settled(msgs[0].Offset) {
			fail("%v: fetched message %d, which is settled", n.part.ID(), got)
		}
		if got > next && len(restored.Ahead) == 0 {
			fail("%v: fetched message %d, want message %d", n.part.ID(), got, next)
		}
		if got > next && !restored.Settled(msgs[0].Offset-1) {
			fail("%v: fetched message %d, but %d was not settled", n.part.ID(), got, got-1)
		}
		next, position = got+1, msgs[0].Offset+1
	}
}

func commitIsSeenByNextOwner(ctx context.Context, h *harness) {
	n := h.owner(ctx, 20)
	for round := range 3 {
		msgs := must(n.read(ctx, 6))
		check(sees(msgs, 0, 6*round))
		// Each commit settles more than the one before it: by a range, then up to the position.
		check(n.commit(ctx, msgs[2].Offset))
		check(n.commit(ctx, msgs[2].Offset, commit.Range{From: msgs[4].Offset, To: msgs[5].Offset}))
		check(n.commit(ctx, n.position))
		position := n.position
		n = h.restart(ctx, n)
		n.restores(ctx, position)
	}
	n.replays(ctx, 18, 20)
}

func commitOfManyPartitionsAtOnce(ctx context.Context, h *harness) {
	for p := range h.env.Partitions {
		h.produce(int32(p), 10+p)
	}
	m, all := h.joinAlone(ctx)
	for p, n := range all {
		must(n.read(ctx, 10+p))
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
		check(errors.Join(errs...))
	}
	check(m.leave(ctx))
	m = h.join(ctx)
	all = m.holdAll(ctx)
	for p, n := range all {
		n.restores(ctx, want[p])
	}
}

func epochGrows(ctx context.Context, h *harness) {
	h.produce(0, 10)
	// The harness also compares the epoch of each owner with those of all earlier owners that have committed.
	var epochs []int64
	n := h.only(ctx, 0)
	for range 4 {
		must(n.read(ctx, 2))
		check(n.commit(ctx, n.position))
		epochs = append(epochs, n.part.ID().Epoch)
		n = h.restart(ctx, n)
	}
	check(n.commit(ctx, n.position))
	epochs = append(epochs, n.part.ID().Epoch)
	// In the last hand-over the next owner joins before the old one leaves, where two members are possible.
	old := n
	if h.env.Alone {
		n = h.restart(ctx, old)
	} else {
		h.join(ctx)
		check(old.letGo(ctx))
		check(old.m.leave(ctx))
		n = h.next(ctx, old)
	}
	epochs = append(epochs, n.part.ID().Epoch)
	for i := 1; i < len(epochs); i++ {
		if epochs[i] <= epochs[i-1] {
			fail("%v: the epochs are %v, want them to grow", h.env.name(0), epochs)
		}
	}
}

func recreatedLogIsNotSkipped(ctx context.Context, h *harness) {
	check(need(h.env.Recreate != nil, "way to make the log again (Env.Recreate)"))
	n, msgs := h.reader(ctx, 30)
	check(n.commit(ctx, msgs[10].Offset, commit.Range{From: msgs[15].Offset, To: msgs[20].Offset}))
	check(n.m.leave(ctx))
	h.recreate()
	h.sent[0] = 1000 // so that the messages differ from those of the old log
	h.produce(0, 30)
	old := n.part.Restored().Log
	n = h.only(ctx, 0)
	n.readsNewLog(ctx, old)
}

// readsNewLog checks that an ownership begins at the first message of a new log, which has 30 messages numbered from 1000.
func (n *holding) readsNewLog(ctx context.Context, old string) {
	if r := n.part.Restored(); !n.m.h.env.Withholds && r.Log == old || len(r.Ahead) > 0 {
		fail("%v: restored log %q and ranges %v, want another log than %q and no ranges",
			n.part.ID(), r.Log, r.Ahead, old)
	}
	check(sees(must(n.read(ctx, 30)), n.number, 1000))
}

func logRecreatedUnderItsOwner(ctx context.Context, h *harness) {
	check(need(h.env.Recreate != nil, "way to make the log again (Env.Recreate)"))
	n := h.owner(ctx, 10)
	must(n.read(ctx, 10))
	check(n.commit(ctx, n.position))
	h.recreate()
	h.sent[0] = 1000
	h.produce(0, 30)
	// The old ownership has to end: it is lost, or Fetch fails. It must not return messages of the new log.
	if msgs, err := n.read(ctx, 1); err == nil {
		fail("%v: fetched %q, a message of another log", n.part.ID(), msgs[0].Value)
	} else if ctx.Err() != nil {
		check(err)
	}
	// The last commit may fail or not. It must not reach the new log.
	_, _ = n.part.Commit(ctx, n.progress(n.position))
	old := n.part.Restored().Log
	n.m.gone()
	n = h.restart(ctx, n)
	n.readsNewLog(ctx, old)
}
