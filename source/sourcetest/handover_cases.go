package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// handoverCases are about ownership that moves, in order and not.
func handoverCases() []Case {
	return []Case{
		{"AskedBackBeforeLost", "a drain needs to be told in time, and needs its final commit", askedBackBeforeLost},
		{"LeavingFetchReturnsErrLeaving", "a fetch that waits on while its partition is asked back holds up the hand-over", leavingFetchReturnsErrLeaving},
		{"NoAcceptBeforeRelease", "two owners at once handle one key twice at the same time", noAcceptBeforeRelease},
		{"NoAcceptBeforeReleaseBySameMember", "the same process must not run two epochs of a partition either", noAcceptBeforeReleaseBySameMember},
		{"EverythingComesOverHandOvers", "members that come and go must not cost a message, however the partitions move", everythingComesOverHandOvers},
		{"CrashReplaysFromCommitted", "after a kill exactly what was not committed comes again", crashReplaysFromCommitted},
		{"LostCancelsAtOnce", "somebody else may own it already: every handler that goes on is an overlap", lostCancelsAtOnce},
		{"OldEpochIsFenced", "an owner that was paused must not overwrite the progress of the next one", oldEpochIsFenced},
	}
}

// two joins a member that holds everything, then a second one, and waits until something is asked back.
func (h *harness) two(ctx context.Context) (all []*holding, asked *holding, leave source.Leave, err error) {
	if err := h.env.needTwo(); err != nil {
		return nil, nil, source.Leave{}, err
	}
	a, err := h.join(ctx)
	if err != nil {
		return nil, nil, source.Leave{}, err
	}
	if all, err = a.holdAll(ctx); err != nil {
		return nil, nil, source.Leave{}, err
	}
	for p, n := range all {
		if err := h.produce(int32(p), 10); err != nil {
			return nil, nil, source.Leave{}, err
		}
		if _, err := n.read(ctx, 4); err != nil {
			return nil, nil, source.Leave{}, err
		}
	}
	if _, err := h.join(ctx); err != nil {
		return nil, nil, source.Leave{}, err
	}
	asked, leave, err = h.asked(ctx, all)
	return all, asked, leave, err
}

// giveBack lets every holding go that is asked back, now or later.
func giveBack(ctx context.Context, all []*holding) error {
	var errs []error
	for _, n := range all {
		errs = append(errs, n.giveBack(ctx))
	}
	return errors.Join(errs...)
}

func askedBackBeforeLost(ctx context.Context, h *harness) error {
	all, n, leave, err := h.two(ctx)
	if err != nil {
		return err
	}
	if leave.Lost {
		return fmt.Errorf("%v: lost at once, want asked back", n.part.ID())
	}
	if !leave.Deadline.IsZero() && time.Until(leave.Deadline) < 0 {
		return fmt.Errorf("%v: asked back with a deadline that is over: %v", n.part.ID(), leave.Deadline)
	}
	if err := n.commit(ctx, n.position); err != nil {
		return err
	}
	if err := giveBack(ctx, all); err != nil {
		return err
	}
	next, err := h.next(ctx, n)
	if err != nil {
		return err
	}
	return next.restores(ctx, n.position)
}

func leavingFetchReturnsErrLeaving(ctx context.Context, h *harness) error {
	if err := h.env.needTwo(); err != nil {
		return err
	}
	_, all, err := h.joinAlone(ctx)
	if err != nil {
		return err
	}
	// Every partition has a Fetch that waits while the second member comes.
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]chan error, len(all))
	for p, n := range all {
		results[p] = make(chan error, 1)
		go func() {
			b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
			results[p] <- n.fetch(waiting, &b)
		}()
	}
	// However the case ends, no Release may come before the last Fetch has returned.
	ended := make([]bool, len(all))
	defer func() {
		cancel(errEnough)
		for p := range all {
			if ended[p] {
				continue
			}
			select {
			case <-results[p]: //nolint:errcheck // whatever it was, it is over
			case <-ctx.Done():
			}
		}
	}()
	if err := h.patience(ctx); err != nil {
		return err
	}
	if _, err := h.join(ctx); err != nil {
		return err
	}
	n, _, err := h.asked(ctx, all)
	if err != nil {
		return err
	}
	p := n.part.ID().Partition
	select {
	case err := <-results[p]:
		ended[p] = true
		if !errors.Is(err, source.ErrLeaving) {
			return fmt.Errorf("%v: Fetch returned %w, want source.ErrLeaving", n.part.ID(), given(err))
		}
	case <-ctx.Done():
		return fmt.Errorf("%v: asked back, but Fetch has not returned: %w", n.part.ID(), context.Cause(ctx))
	}
	b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
	if err := n.fetch(ctx, &b); !errors.Is(err, source.ErrLeaving) {
		return fmt.Errorf("%v: the next Fetch returned %w, want source.ErrLeaving", n.part.ID(), given(err))
	}
	return nil
}

func noAcceptBeforeRelease(ctx context.Context, h *harness) error {
	all, n, _, err := h.two(ctx)
	if err != nil {
		return err
	}
	// Time for somebody to accept what is not free; the harness watches.
	if err := h.patience(ctx); err != nil {
		return err
	}
	if err := h.violations(); err != nil {
		return nil //nolint:nilerr // the harness reports it when the case is over
	}
	if err := giveBack(ctx, all); err != nil {
		return err
	}
	_, err = h.next(ctx, n)
	return err
}

func noAcceptBeforeReleaseBySameMember(ctx context.Context, h *harness) error {
	all, n, _, err := h.two(ctx)
	if err != nil {
		return err
	}
	// The one it is asked back for goes again, so it is to stay with its owner, but in another epoch.
	if err := h.members[1].leave(ctx); err != nil {
		return err
	}
	if err := h.patience(ctx); err != nil {
		return err
	}
	if err := h.violations(); err != nil {
		return nil //nolint:nilerr // the harness reports it when the case is over
	}
	if err := giveBack(ctx, all); err != nil {
		return err
	}
	next, err := h.next(ctx, n)
	if err != nil {
		return err
	}
	if next.m != n.m {
		return fmt.Errorf("member %d accepted %v, want member %d, the only one left", next.m.number, next.part.ID(), n.m.number)
	}
	msgs, err := next.read(ctx, 10)
	if err != nil {
		return err
	}
	return sees(msgs, n.part.ID().Partition, 0)
}

func everythingComesOverHandOvers(ctx context.Context, h *harness) error {
	if err := h.env.needTwo(); err != nil {
		return err
	}
	const total, batch = 60, 5
	read := make([]int, min(3, h.env.Partitions)) // by partition; a few are enough
	for p := range read {
		if err := h.produce(int32(p), total); err != nil {
			return err
		}
	}
	if _, err := h.join(ctx); err != nil {
		return err
	}
	// One reader for all members: it takes whatever ownership there is, reads a little, commits it, and gives it back;
	// in between a member comes or goes. What a new owner reads first tells whether anything was lost.
	for step := 0; ; {
		p := -1
		for i := range read {
			if read[i] < total && (p < 0 || read[i] < read[p]) {
				p = i
			}
		}
		if p < 0 {
			return nil
		}
		n, err := h.find(ctx, nil, func(n *holding) bool { return int(n.part.ID().Partition) == p && !n.finished() })
		if err != nil {
			return fmt.Errorf("nobody owns partition %d: %w", p, err)
		}
		msgs, err := n.read(ctx, min(batch, total-read[p]))
		if sees := sees(msgs, int32(p), read[p]); sees != nil {
			return fmt.Errorf("%v: %w", n.part.ID(), sees)
		}
		switch {
		case err != nil && !errors.Is(err, source.ErrLeaving):
			return err
		case len(msgs) > 0:
			if err := n.commit(ctx, n.position); err != nil {
				return err
			}
			read[p] += len(msgs)
		}
		if err := n.giveBack(ctx); err != nil {
			return err
		}
		if len(msgs) == 0 {
			continue // it was leaving
		}
		switch step % 8 {
		case 3:
			if _, err := h.join(ctx); err != nil {
				return err
			}
		case 7:
			if err := h.members[step/8].leave(ctx); err != nil {
				return err
			}
		}
		step++
	}
}

func crashReplaysFromCommitted(ctx context.Context, h *harness) error {
	if err := need(h.env.Crash != nil, "way to crash a member (Env.Crash)"); err != nil {
		return err
	}
	n, msgs, err := h.reader(ctx, 30)
	if err != nil {
		return err
	}
	ahead := commit.Range{From: msgs[12].Offset, To: msgs[14].Offset}
	if err := n.commit(ctx, msgs[7].Offset, ahead); err != nil {
		return err
	}
	if err := n.m.crash(); err != nil {
		return err
	}
	if n, err = h.only(ctx, 0); err != nil {
		return err
	}
	if err := n.restores(ctx, msgs[7].Offset, ahead); err != nil {
		return err
	}
	return n.replays(ctx, 7, 30)
}

// losing holds a partition that has committed 4 of 10 messages, and loses it.
func (h *harness) losing(ctx context.Context) (*holding, error) {
	if err := need(h.env.Lose != nil, "way to lose a partition (Env.Lose)"); err != nil {
		return nil, err
	}
	if err := h.produce(0, 10); err != nil {
		return nil, err
	}
	m, err := h.join(ctx)
	if err != nil {
		return nil, err
	}
	// All of them, because a log may take them all away; the others are released as soon as that shows.
	all, err := m.holdAll(ctx)
	if err != nil {
		return nil, err
	}
	if err := giveBack(ctx, all[1:]); err != nil {
		return nil, err
	}
	n := all[0]
	if _, err := n.read(ctx, 4); err != nil {
		return nil, err
	}
	if err := n.commit(ctx, n.position); err != nil {
		return nil, err
	}
	if err := n.m.lose(n.part.ID()); err != nil {
		return nil, err
	}
	leave, err := n.left(ctx)
	if err == nil && !leave.Lost {
		// Asked back first is legal, if the loss follows without a Release.
		leave, err = n.left(ctx)
	}
	if err != nil {
		return nil, err
	}
	if !leave.Lost {
		return nil, fmt.Errorf("%v: Leaving says %+v, want lost", n.part.ID(), leave)
	}
	return n, nil
}

func lostCancelsAtOnce(ctx context.Context, h *harness) error {
	n, err := h.losing(ctx)
	if err != nil {
		return err
	}
	b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
	if err := n.fetch(ctx, &b); !errors.Is(err, source.ErrLeaving) {
		return fmt.Errorf("%v: Fetch of a lost partition returned %w, want source.ErrLeaving", n.part.ID(), given(err))
	}
	if _, err := n.part.Commit(ctx, n.progress(n.position)); !errors.Is(err, commit.ErrFenced) {
		return fmt.Errorf("%v: Commit of a lost partition returned %w, want commit.ErrFenced", n.part.ID(), given(err))
	}
	if err := n.letGo(ctx); err != nil {
		return fmt.Errorf("%v: Release of a lost partition: %w", n.part.ID(), err)
	}
	// Whoever comes next, this member or none other, begins at what was committed.
	next, err := h.next(ctx, n)
	if err != nil {
		return err
	}
	return next.restores(ctx, n.position)
}

func oldEpochIsFenced(ctx context.Context, h *harness) error {
	if err := h.env.needTwo(); err != nil {
		return err
	}
	n, err := h.losing(ctx)
	if err != nil {
		return err
	}
	// Another member takes over while the old owner knows nothing yet.
	if _, err := h.join(ctx); err != nil {
		return err
	}
	next, err := h.find(ctx, nil, func(o *holding) bool { return o.m != n.m && o.part.ID().Partition == 0 })
	if err != nil {
		return fmt.Errorf("the second member does not get what the first has lost: %w", err)
	}
	if _, err := next.read(ctx, 4); err != nil {
		return err
	}
	if err := next.commit(ctx, next.position); err != nil {
		return err
	}
	if _, err := n.part.Commit(ctx, n.progress(n.position)); !errors.Is(err, commit.ErrFenced) {
		return fmt.Errorf("%v: commit while %v owns the partition returned %w, want commit.ErrFenced",
			n.part.ID(), next.part.ID(), given(err))
	}
	position := next.position
	if err := errors.Join(n.letGo(ctx), n.m.leave(ctx), next.m.leave(ctx)); err != nil {
		return err
	}
	if n, err = h.only(ctx, 0); err != nil {
		return err
	}
	return n.restores(ctx, position)
}
