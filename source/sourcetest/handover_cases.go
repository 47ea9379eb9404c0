package sourcetest

import (
	"context"
	"errors"
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
func (h *harness) two(ctx context.Context) (all []*holding, asked *holding, leave source.Leave) {
	check(h.env.needTwo())
	_, all = h.joinAlone(ctx)
	for p, n := range all {
		h.produce(int32(p), 10)
		must(n.read(ctx, 4))
	}
	h.join(ctx)
	asked, leave = h.asked(ctx, all)
	return all, asked, leave
}

// giveBack gives all holdings back: each is released as soon as it is revoked.
func giveBack(ctx context.Context, all []*holding) error {
	var errs []error
	for _, n := range all {
		errs = append(errs, n.giveBack(ctx))
	}
	return errors.Join(errs...)
}

func revokedBeforeLost(ctx context.Context, h *harness) {
	all, n, leave := h.two(ctx)
	if leave.Lost {
		fail("%v: Leaving has sent lost, want revoked first", n.part.ID())
	}
	if !leave.Deadline.IsZero() && time.Until(leave.Deadline) < 0 {
		fail("%v: revoked with a deadline in the past: %v", n.part.ID(), leave.Deadline)
	}
	check(n.commit(ctx, n.position))
	check(giveBack(ctx, all))
	h.next(ctx, n).restores(ctx, n.position)
}

func leavingFetchReturnsErrLeaving(ctx context.Context, h *harness) {
	check(h.env.needTwo())
	_, all := h.joinAlone(ctx)
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
	h.patience(ctx)
	h.join(ctx)
	n, _ := h.asked(ctx, all)
	p := n.number
	select {
	case err := <-results[p]:
		ended[p] = true
		if !errors.Is(err, source.ErrLeaving) {
			fail("%v: Fetch returned %w, want source.ErrLeaving", n.part.ID(), given(err))
		}
	case <-ctx.Done():
		fail("%v: Fetch has not returned since the partition was revoked: %w", n.part.ID(), context.Cause(ctx))
	}
	b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
	if err := n.fetch(ctx, &b); !errors.Is(err, source.ErrLeaving) {
		fail("%v: the next Fetch returned %w, want source.ErrLeaving", n.part.ID(), given(err))
	}
}

func noAcceptBeforeRelease(ctx context.Context, h *harness) {
	all, n, _ := h.two(ctx)
	// Give the second member time to accept a partition that is not free. The harness records it.
	h.patience(ctx)
	if h.violations() != nil {
		return // the harness reports it when the case is over
	}
	check(giveBack(ctx, all))
	h.next(ctx, n)
}

func noAcceptBeforeReleaseBySameMember(ctx context.Context, h *harness) {
	all, n, _ := h.two(ctx)
	// The second member leaves, so the first one gets the partition again, in another epoch.
	check(h.members[1].leave(ctx))
	h.patience(ctx)
	if h.violations() != nil {
		return // the harness reports it when the case is over
	}
	check(giveBack(ctx, all))
	next := h.next(ctx, n)
	if next.m != n.m {
		fail("member %d accepted %v, want member %d, the only member left", next.m.number, next.part.ID(), n.m.number)
	}
	check(sees(must(next.read(ctx, 10)), n.number, 0))
}

func everythingComesOverHandOvers(ctx context.Context, h *harness) {
	check(h.env.needTwo())
	const total, batch = 60, 5
	read := make([]int, min(3, h.env.Partitions)) // number of messages read, by partition
	for p := range read {
		h.produce(int32(p), total)
	}
	h.join(ctx)
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
			return
		}
		n, err := h.find(ctx, nil, func(n *holding) bool { return int(n.number) == p && !n.finished() })
		if err != nil {
			fail("no member owns partition %d: %w", p, err)
		}
		msgs, err := n.read(ctx, min(batch, total-read[p]))
		if sees := sees(msgs, int32(p), read[p]); sees != nil {
			fail("%v: %w", n.part.ID(), sees)
		}
		switch {
		case err != nil && !errors.Is(err, source.ErrLeaving):
			check(err)
		case len(msgs) > 0:
			check(n.commit(ctx, n.position))
			read[p] += len(msgs)
		}
		check(n.giveBack(ctx))
		if len(msgs) == 0 {
			continue // the partition was leaving
		}
		switch step % 8 {
		case 3:
			h.join(ctx)
		case 7:
			check(h.members[step/8].leave(ctx))
		}
		step++
	}
}

func crashReplaysFromCommitted(ctx context.Context, h *harness) {
	check(need(h.env.Crash != nil, "way to crash a member (Env.Crash)"))
	n, msgs := h.reader(ctx, 30)
	ahead := commit.Range{From: msgs[12].Offset, To: msgs[14].Offset}
	check(n.commit(ctx, msgs[7].Offset, ahead))
	check(n.m.crash())
	n = h.only(ctx, 0)
	n.restores(ctx, msgs[7].Offset, ahead)
	n.replays(ctx, 7, 30)
}

// losing takes a partition, commits 4 of its 10 messages, and loses it.
func (h *harness) losing(ctx context.Context) *holding {
	check(need(h.env.Lose != nil, "way to lose a partition (Env.Lose)"))
	h.produce(0, 10)
	// Take all partitions, because the log may revoke all of them. The others are released as soon as they are lost.
	_, all := h.joinAlone(ctx)
	check(giveBack(ctx, all[1:]))
	n := all[0]
	must(n.read(ctx, 4))
	check(n.commit(ctx, n.position))
	check(n.m.lose(n.part.ID()))
	leave := must(n.left(ctx))
	if !leave.Lost { // the source may revoke the partition first, if the loss follows before a Release
		leave = must(n.left(ctx))
	}
	if !leave.Lost {
		fail("%v: Leaving has sent %+v, want lost", n.part.ID(), leave)
	}
	return n
}

func lostCancelsAtOnce(ctx context.Context, h *harness) {
	n := h.losing(ctx)
	b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
	if err := n.fetch(ctx, &b); !errors.Is(err, source.ErrLeaving) {
		fail("%v: Fetch of a lost partition returned %w, want source.ErrLeaving", n.part.ID(), given(err))
	}
	if _, err := n.part.Commit(ctx, n.progress(n.position)); !errors.Is(err, commit.ErrFenced) {
		fail("%v: Commit of a lost partition returned %w, want commit.ErrFenced", n.part.ID(), given(err))
	}
	if err := n.letGo(ctx); err != nil {
		fail("%v: Release of a lost partition: %w", n.part.ID(), err)
	}
	// The next owner, this member or another, begins at the committed progress.
	h.next(ctx, n).restores(ctx, n.position)
}

func oldEpochIsFenced(ctx context.Context, h *harness) {
	check(h.env.needTwo())
	n := h.losing(ctx)
	// Another member takes over before the old owner releases.
	h.join(ctx)
	next, err := h.find(ctx, nil, func(o *holding) bool { return o.m != n.m && o.number == 0 })
	if err != nil {
		fail("the second member does not get the partition that the first has lost: %w", err)
	}
	must(next.read(ctx, 4))
	check(next.commit(ctx, next.position))
	if _, err := n.part.Commit(ctx, n.progress(n.position)); !errors.Is(err, commit.ErrFenced) {
		fail("%v: commit while %v owns the partition returned %w, want commit.ErrFenced",
			n.part.ID(), next.part.ID(), given(err))
	}
	position := next.position
	check(errors.Join(n.letGo(ctx), n.m.leave(ctx), next.m.leave(ctx)))
	n = h.only(ctx, 0)
	n.restores(ctx, position)
}
