package spilltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keystrand/keystrand/middleware/spill"
)

func appendTwiceIsOnce(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	first := env.records("a", 1, 2, 3)
	for _, rs := range [][]spill.Record{
		first, first, env.records("a", 2), slices.Concat(env.records("a", 3, 4), env.records("a", 4), env.records("b", 1)), env.records("a", 1, 2, 3, 4),
	} {
		if err := l.Append(ctx, rs); err != nil {
			return err
		}
	}
	for range 2 {
		var strands map[string]spill.Strand
		if l, strands, err = env.restart(ctx, l, &o); err != nil {
			return err
		}
		err := errors.Join(
			strand(strands, spill.Strand{Key: "a", From: 1, High: 4, Mark: -1, Records: 4, Bytes: sizeOf(env.records("a", 1, 2, 3, 4))}),
			strand(strands, spill.Strand{Key: "b", From: 1, High: 1, Mark: -1, Records: 1, Bytes: sizeOf(env.records("b", 1))}),
			env.holds(ctx, l, "a", -1, 1, 2, 3, 4), env.holds(ctx, l, "b", -1, 1))
		if err != nil {
			return err
		}
		if err := l.Append(ctx, env.records("a", 4, 3, 2, 1)); err != nil { // by the next owner
			return err
		}
	}
	return l.Close()
}

func appendAgainHoldsNothing(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	rs := env.records("a", 5, 6)
	rs[0].Hold, rs[0].Reason = true, "poison"
	if err := l.Append(ctx, rs); err != nil {
		return err
	}
	if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: -1, Change: spill.Resume}}); err != nil {
		return err
	}
	rs[0].From = 1
	if err := l.Append(ctx, rs); err != nil {
		return err
	}
	l, strands, err := env.restart(ctx, l, &o)
	if err != nil {
		return err
	}
	want := spill.Strand{Key: "a", From: 5, High: 6, Mark: -1, Records: 2, Bytes: sizeOf(rs)}
	return errors.Join(strand(strands, want), l.Close())
}

// lostReply cuts calls at a moment of chance: whether they were stored is unknown, as after a lost reply.
func lostReply(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	cut := func(call func(ctx context.Context) error) {
		cutting, cancel := context.WithCancelCause(ctx)
		done := make(chan struct{})
		go func() { defer close(done); cancel(errEnded) }()
		_ = call(cutting)
		<-done
	}
	var all []int64
	for i := range int64(30) {
		all = append(all, 2*i, 2*i+1)
		rs := env.records("a", 2*i, 2*i+1)
		cut(func(ctx context.Context) error { return l.Append(ctx, rs) })
		if err := l.Append(ctx, rs); err != nil {
			return fmt.Errorf("append again: %w", err)
		}
		ms := []spill.Mark{{Key: "a", Through: i, Change: spill.Hold, Reason: "why"}, {Key: "b", Through: i, Change: spill.Remove}}
		if err := l.Append(ctx, env.records("b", i)); err != nil {
			return err
		}
		cut(func(ctx context.Context) error { return l.Save(ctx, ms) })
		if err := l.Save(ctx, ms); err != nil {
			return fmt.Errorf("save again: %w", err)
		}
		if err := env.holds(ctx, l, "a", -1, all[i+1:]...); err != nil {
			return err
		}
		o.Epoch++
		cut(func(ctx context.Context) error {
			cutLog, _, err := env.store.Open(ctx, o)
			if err != nil {
				return err
			}
			return cutLog.Close()
		})
		if err := l.Close(); err != nil {
			return err
		}
		var strands map[string]spill.Strand
		if l, strands, err = env.open(ctx, o); err != nil { // with the epoch that may be claimed
			return fmt.Errorf("open again: %w", err)
		}
		left := all[i+1:]
		want := spill.Strand{
			Key: "a", High: 2*i + 1, Mark: i, Held: true, Reason: "why", Records: int64(len(left)), Bytes: sizeOf(env.records("a", left...)),
		}
		if err := errors.Join(strand(strands, want), gone(strands, "b")); err != nil {
			return err
		}
	}
	return l.Close()
}

func strandsAreCounted(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	rs := slices.Concat(env.records("a", 10, 11, 12), env.records("b", 20))
	rs[1].Message.Value = make([]byte, 5000)
	if err := l.Append(ctx, rs); err != nil {
		return err
	}
	lower := env.record("a", 4, 7) // diverted again, at a smaller offset
	if err := l.Append(ctx, []spill.Record{lower}); err != nil {
		return err
	}
	ms := []spill.Mark{{Key: "a", Through: 10}, {Key: "none", Through: 10}, {Key: "a", Through: 11}}
	if err := l.Save(ctx, ms); err != nil {
		return err
	}
	since := make(map[string]spill.Strand)
	for range 2 {
		var strands map[string]spill.Strand
		if l, strands, err = env.restart(ctx, l, &o); err != nil {
			return err
		}
		if len(strands) != 2 {
			return fmt.Errorf("open returned %d strands, want 2", len(strands))
		}
		err := errors.Join(
			strand(strands, spill.Strand{Key: "a", From: 4, High: 12, Mark: 11, Records: 1, Bytes: sizeOf(rs[2:3])}),
			strand(strands, spill.Strand{Key: "b", From: 20, High: 20, Mark: -1, Records: 1, Bytes: sizeOf(rs[3:])}))
		if err != nil {
			return err
		}
		for k, s := range strands {
			if old, ok := since[k]; s.Since.IsZero() || ok && !old.Since.Equal(s.Since) {
				return fmt.Errorf("strand %q is since %v, was since %v", k, s.Since, old.Since)
			}
			since[k] = s
		}
	}
	return l.Close()
}

func belowTheMarkIsNothing(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	if err := l.Append(ctx, env.records("a", 1, 2, 3, 5)); err != nil {
		return err
	}
	if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: 3}}); err != nil {
		return err
	}
	again := env.records("a", 1, 2, 3, 4)
	again[0].Hold, again[0].From = true, 0
	if err := l.Append(ctx, again); err != nil {
		return err
	}
	if err := env.holds(ctx, l, "a", -1, 4, 5); err != nil {
		return err
	}
	l, strands, err := env.restart(ctx, l, &o)
	if err != nil {
		return err
	}
	if err := l.Append(ctx, again); err != nil { // by the next owner
		return err
	}
	want := spill.Strand{Key: "a", From: 1, High: 5, Mark: 3, Records: 2, Bytes: sizeOf(env.records("a", 4, 5))}
	return errors.Join(strand(strands, want), env.holds(ctx, l, "a", -1, 4, 5), l.Close())
}

func marksGoForwardOnly(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	if err := l.Append(ctx, env.records("a", 0, 1, 2, 3, 9)); err != nil {
		return err
	}
	for _, c := range []struct{ through, mark int64 }{{-1, -1}, {0, 0}, {2, 2}, {1, 2}, {-1, 2}, {5, 5}, {0, 5}} {
		if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: c.through}}); err != nil {
			return err
		}
		var left []int64
		for _, offset := range []int64{0, 1, 2, 3, 9} {
			if offset > c.mark {
				left = append(left, offset)
			}
		}
		if err := env.holds(ctx, l, "a", -1, left...); err != nil {
			return fmt.Errorf("after the mark %d: %w", c.through, err)
		}
		var strands map[string]spill.Strand
		if l, strands, err = env.restart(ctx, l, &o); err != nil {
			return err
		}
		want := spill.Strand{Key: "a", High: 9, Mark: c.mark, Records: int64(len(left)), Bytes: sizeOf(env.records("a", append(left, 9)...)[:len(left)])}
		if err := strand(strands, want); err != nil {
			return fmt.Errorf("after the mark %d: %w", c.through, err)
		}
	}
	return l.Close()
}

func emptyStrandKeepsItsMark(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	if err := l.Append(ctx, env.records("a", 5, 6)); err != nil {
		return err
	}
	if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: 6}}); err != nil {
		return err
	}
	l, strands, err := env.restart(ctx, l, &o)
	if err != nil {
		return err
	}
	if err := strand(strands, spill.Strand{Key: "a", From: 5, High: 6, Mark: 6}); err != nil {
		return err
	}
	if err := l.Append(ctx, env.records("a", 5, 6, 7)); err != nil {
		return err
	}
	return errors.Join(env.holds(ctx, l, "a", -1, 7), l.Close())
}

func removedIsGone(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	if err := l.Append(ctx, slices.Concat(env.records("a", 5, 6), env.records("b", 5))); err != nil {
		return err
	}
	remove := []spill.Mark{{Key: "a", Through: 6, Change: spill.Remove}}
	for range 2 { // the reply of the first may be lost
		if err := l.Save(ctx, remove); err != nil {
			return err
		}
	}
	if err := env.holds(ctx, l, "a", -1); err != nil {
		return err
	}
	l, strands, err := env.restart(ctx, l, &o)
	if err != nil {
		return err
	}
	if err := gone(strands, "a"); err != nil {
		return err
	}
	if err := l.Append(ctx, env.records("a", 4, 6)); err != nil {
		return err
	}
	if err := env.holds(ctx, l, "a", -1, 4, 6); err != nil {
		return fmt.Errorf("diverted again: %w", err)
	}
	if l, strands, err = env.restart(ctx, l, &o); err != nil {
		return err
	}
	want := spill.Strand{Key: "a", From: 4, High: 6, Mark: -1, Records: 2, Bytes: sizeOf(env.records("a", 4, 6))}
	return errors.Join(strand(strands, want), env.holds(ctx, l, "b", -1, 5), l.Close())
}

func removeRefusesRecordsLeft(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	if err := l.Append(ctx, slices.Concat(env.records("a", 5, 6), env.records("b", 5))); err != nil {
		return err
	}
	err = l.Save(ctx, []spill.Mark{{Key: "b", Through: 5}, {Key: "a", Through: 5, Change: spill.Remove}})
	if !errors.Is(err, spill.ErrRecordsLeft) {
		return fmt.Errorf("remove a strand with a record left: got the error %w, want ErrRecordsLeft", nonNil(err))
	}
	check := func() error { return errors.Join(env.holds(ctx, l, "a", -1, 5, 6), env.holds(ctx, l, "b", -1, 5)) }
	if err := check(); err != nil {
		return err
	}
	l, strands, err := env.restart(ctx, l, &o)
	if err != nil {
		return err
	}
	want := spill.Strand{Key: "a", From: 5, High: 6, Mark: -1, Records: 2, Bytes: sizeOf(env.records("a", 5, 6))}
	return errors.Join(check(), strand(strands, want), l.Close())
}

func heldOutlivesRestart(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	rs := slices.Concat(env.records("a", 5, 6), env.records("b", 5))
	rs[0].Hold, rs[0].Reason = true, "é\x00\xff"
	if err := l.Append(ctx, rs); err != nil {
		return err
	}
	a := spill.Strand{Key: "a", From: 5, High: 6, Mark: -1, Held: true, Reason: rs[0].Reason, Records: 2, Bytes: sizeOf(rs[:2])}
	b := spill.Strand{Key: "b", From: 5, High: 5, Mark: -1, Records: 1, Bytes: sizeOf(rs[2:])}
	long := strings.Repeat("é", 1024)
	for _, step := range []struct {
		marks  []spill.Mark
		change func()
	}{
		{nil, func() {}},
		{[]spill.Mark{{Key: "a", Through: 5, Change: spill.Resume}}, func() {
			a.Held, a.Reason, a.Mark, a.Records, a.Bytes = false, "", 5, 1, sizeOf(rs[1:2])
		}},
		{[]spill.Mark{{Key: "b", Through: -1, Change: spill.Hold, Reason: "again"}, {Key: "a", Through: -1}}, func() { b.Held, b.Reason = true, "again" }},
		{[]spill.Mark{{Key: "b", Through: -1}}, func() {}},
		{[]spill.Mark{{Key: "b", Through: -1, Change: spill.Hold, Reason: long}}, func() { b.Reason = long[:1024] }},
	} {
		if err := l.Save(ctx, step.marks); err != nil {
			return err
		}
		step.change()
		var strands map[string]spill.Strand
		if l, strands, err = env.restart(ctx, l, &o); err != nil {
			return err
		}
		if err := errors.Join(strand(strands, a), strand(strands, b)); err != nil {
			return fmt.Errorf("after the marks %+v: %w", step.marks, err)
		}
	}
	return l.Close()
}

// gone returns an error if there is a strand of this key.
func gone(strands map[string]spill.Strand, key string) error {
	if s, ok := strands[key]; ok {
		return fmt.Errorf("the strand %+v was removed, and open returned it", s)
	}
	return nil
}
