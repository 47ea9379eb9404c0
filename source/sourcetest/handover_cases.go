package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// handoverCases test ownership that moves, by an orderly hand-over or by a loss.
func handoverCases() []Case {
	return []Case{
		{"RevokedBeforeLost", "A drain has to begin before the partition is lost, and ends with a commit.", revokedBeforeLost},
		{"LeavingFetchReturnsErrLeaving", "A Fetch that keeps waiting while its partition is revoked delays the hand-over.", leavingFetchReturnsErrLeaving},
		{"NoAcceptBeforeRelease", "Two owners at once run handlers of one key at the same time.", noAcceptBeforeRelease},
		{"NoAcceptBeforeReleaseBySameMember", "Two epochs of one partition in one process run handlers of one key at the same time.", noAcceptBeforeReleaseBySameMember},
		{"EverythingComesOverHandOvers", "Members that join and leave must not lose a message, however the partitions move.", everythingComesOverHandOvers},
		{"CrashReplaysFromCommitted", "After a kill exactly the messages that were not committed are redelivered.", crashReplaysFromCommitted},
		{"LostCancelsAtOnce", "Another member may own the partition already. Every handler that goes on runs beside its handlers.", lostCancelsAtOnce},
		{"OldEpochIsFenced", "An owner that was paused must not overwrite the progress of the next owner.", oldEpochIsFenced},
	}
}

// two joins a member and takes all partitions, then joins a second member and waits until a partition is revoked.
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

// giveBack gives all holdings back: each is released as soon as it is revoked.
func giveBack(ctx context.Context, all []*holding) error {
	var errs []error
	for _, n := range all {
		errs = append(errs, n.giveBack(ctx))
	}
	return errors.Join(errs...)
}

func revokedBeforeLost(ctx context.Context, h *harness) error {
	all, n, leave, err := h.two(ctx)
	if err != nil {
		return err
	}
	if leave.Lost {
		return fmt.Errorf("%v: Leaving has sent lost, want revoked first", n.part.ID())
	}
	if !leave.Deadline.IsZero() && time.Until(leave.Deadline) < 0 {
		return fmt.Errorf("%v: revoked with a deadline in the past: %v", n.part.ID(), leave.Deadline)
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
	// A Fetch of every partition is running when the second member joins.
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
	// However the case ends, Release must not be called before the last Fetch has returned.
	ended := make([]bool, len(all))
	defer func() {
		cancel(errEnough)
		for p := range all {
			if ended[p] {
				continue
			}
			select {
			case <-results[p]: //nolint:errcheck // the Fetch has returned, whatever its error
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
		return fmt.Errorf("%v: Fetch has not returned since the partition was revoked: %w", n.part.ID(), context.Cause(ctx))
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
	// Give the second member time to accept a partition that is not free. The harness records it.
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
	// The second member leaves, so the first one gets the partition again, in another epoch.
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
		return fmt.Errorf("member %d accepted %v, want member %d, the only member left", next.m.number, next.part.ID(), n.m.number)
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
	read := make([]int, min(3, h.env.Partitions)) // number of messages read, by partition
	for p := range read {
		if err := h.produce(int32(p), total); err != nil {
			return err
		}
	}
	if _, err := h.join(ctx); err != nil {
		return err
	}
	// In each step: take an ownership of any member, read and commit a few messages, and give it back. Every few steps a member
	// joins or leaves. The first message that a new owner reads shows whether one was lost.
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
			return fmt.Errorf("no member owns partition %d: %w", p, err)
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
			continue // the partition was leaving
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

// losing takes a partition, commits 4 of its 10 messages, and loses it.
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
	// Take all partitions, because the log may revoke all of them. The others are released as soon as they are lost.
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
		// The source may revoke the partition first, if the loss follows before a Release.
		leave, err = n.left(ctx)
	}
	if err != nil {
		return nil, err
	}
	if !leave.Lost {
		return nil, fmt.Errorf("%v: Leaving has sent %+v, want lost", n.part.ID(), leave)
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
	// The next owner, this member or another, begins at the committed progress.
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
	// Another member takes over before the old owner releases.
	if _, err := h.join(ctx); err != nil {
		return err
	}
	next, err := h.find(ctx, nil, func(o *holding) bool { return o.m != n.m && o.part.ID().Partition == 0 })
	if err != nil {
		return fmt.Errorf("the second member does not get the partition that the first has lost: %w", err)
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
