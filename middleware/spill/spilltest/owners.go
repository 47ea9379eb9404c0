package spilltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
)

func olderEpochIsRefused(ctx context.Context, env *Env) error {
	older := env.owner(3)
	old, _, err := env.open(ctx, older)
	if err != nil {
		return err
	}
	if err := old.Append(ctx, env.records("a", 1, 2)); err != nil {
		return err
	}
	before, _, err := env.open(ctx, older) // the same epoch: the reply of the first Open was lost
	if err != nil {
		return err
	}
	if err := fenced("append", old.Append(ctx, env.records("a", 9))); err != nil {
		return fmt.Errorf("after a second Open with its epoch: %w", err)
	}
	newest, strands, err := env.open(ctx, env.owner(5))
	if err != nil {
		return err
	}
	want := spill.Strand{Key: "a", From: 1, High: 2, Mark: -1, Records: 2, Bytes: sizeOf(env.records("a", 1, 2))}
	if err := strand(strands, want); err != nil {
		return err
	}
	if _, _, err := env.store.Open(ctx, env.owner(4)); err != nil {
		if err := fenced("open", err); err != nil {
			return err
		}
	} else {
		return errors.New("open with the epoch 4 after 5: got no error, want one that wraps commit.ErrFenced")
	}
	for _, l := range []spill.Log{old, before} {
		_, readErr := l.Read(ctx, "a", -1, spill.Size{})
		err := errors.Join(fenced("append", l.Append(ctx, env.records("a", 3))), fenced("append of what is there", l.Append(ctx, env.records("a", 1))),
			fenced("read", readErr), fenced("save", l.Save(ctx, []spill.Mark{{Key: "a", Through: 2, Change: spill.Remove}})),
			env.holds(ctx, newest, "a", -1, 1, 2), l.Close())
		if err != nil {
			return err
		}
	}
	if err := newest.Append(ctx, env.records("a", 3)); err != nil {
		return fmt.Errorf("append by the newest owner, after others were closed: %w", err)
	}
	o := env.owner(5)
	l, _, err := env.restart(ctx, newest, &o)
	if err != nil {
		return err
	}
	if err := env.holds(ctx, l, "a", -1, 1, 2, 3); err != nil {
		return err
	}
	if _, _, err := env.store.Open(ctx, env.owner(5)); err == nil {
		return errors.New("open with the epoch 5 after 6 and a restart: got no error, want one that wraps commit.ErrFenced")
	} else if err := fenced("open after a restart", err); err != nil {
		return err
	}
	return l.Close()
}

func foreignLog(ctx context.Context, env *Env) error {
	o := env.owner(7)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	rs := slices.Concat(env.records("a", 5, 6), env.records("b", 9))
	rs[0].Hold, rs[0].Reason = true, "poison"
	if err := l.Append(ctx, rs); err != nil {
		return err
	}
	first := o.Log
	o = spill.Owner{Stream: o.Stream, Epoch: 0, Log: "log-2"} // epochs of another log are not comparable; restart makes it 1
	l, strands, err := env.restart(ctx, l, &o)
	if err != nil {
		return fmt.Errorf("open with another log and a smaller epoch: %w", err)
	}
	a := spill.Strand{Key: "a", From: 5, High: 6, Mark: -1, Held: true, Reason: "poison", Records: 2, Bytes: sizeOf(rs[:2]), Foreign: true, Log: first}
	b := spill.Strand{Key: "b", From: 9, High: 9, Mark: -1, Records: 1, Bytes: sizeOf(rs[2:]), Foreign: true, Log: first}
	if err := errors.Join(strand(strands, a), strand(strands, b), env.holds(ctx, l, "a", -1, 5, 6)); err != nil {
		return err
	}
	for _, offset := range []int64{5, 7} {
		if err := l.Append(ctx, slices.Concat(env.records("c", offset), env.records("a", offset))); err == nil {
			return fmt.Errorf("append of offset %d to a strand of another log: got no error, want one", offset)
		}
	}
	if err := env.holds(ctx, l, "c", -1); err != nil {
		return fmt.Errorf("after a refused Append: %w", err)
	}
	if err := l.Append(ctx, env.records("c", 0)); err != nil {
		return err
	}
	if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: 5, Change: spill.Resume}, {Key: "b", Through: 9, Change: spill.Remove}}); err != nil {
		return err
	}
	a.Mark, a.Held, a.Reason, a.Records, a.Bytes = 5, false, "", 1, sizeOf(rs[1:2])
	c := spill.Strand{Key: "c", From: 0, High: 0, Mark: -1, Records: 1, Bytes: sizeOf(env.records("c", 0))}
	if l, strands, err = env.restart(ctx, l, &o); err != nil {
		return err
	}
	if err := errors.Join(strand(strands, a), strand(strands, c), gone(strands, "b"), env.holds(ctx, l, "a", -1, 6)); err != nil {
		return err
	}
	if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: 6, Change: spill.Remove}}); err != nil {
		return err
	}
	if err := l.Append(ctx, env.records("a", 1)); err != nil {
		return fmt.Errorf("append after the strand of the other log was removed: %w", err)
	}
	return errors.Join(env.holds(ctx, l, "a", -1, 1), l.Close())
}

func partitionsAreApart(ctx context.Context, env *Env) error {
	owners := []spill.Owner{
		{Stream: env.Stream},
		{Stream: env.Stream, Partition: 1},
		{Stream: env.Stream, Partition: 256},
		{Stream: env.Stream + "\x00"},
		{Stream: env.Stream + "/1"},
		{Stream: "persistent://public/default/" + env.Stream},
		{Stream: ""},
	}
	var logs []spill.Log
	record := func(i int) spill.Record {
		r := env.record("a", 1, 1)
		r.Message.Stream, r.Message.Partition, r.Message.Value = owners[i].Stream, owners[i].Partition, []byte(strconv.Itoa(i))
		return r
	}
	for i, o := range owners {
		l, strands, err := env.open(ctx, o)
		if err != nil {
			return err
		}
		if len(strands) > 0 {
			return fmt.Errorf("partition %+v has the strands of another: %+v", o, strands)
		}
		logs = append(logs, l)
		if err := l.Append(ctx, []spill.Record{record(i)}); err != nil {
			return err
		}
	}
	for i, l := range logs {
		ms, err := l.Read(ctx, "a", -1, spill.Size{})
		if err != nil || len(ms) != 1 {
			return fmt.Errorf("partition %+v: read %d messages with the error %w, want 1", owners[i], len(ms), nonNil(err))
		}
		want := record(i).Message
		if err := same(&ms[0], &want); err != nil {
			return fmt.Errorf("partition %+v: %w", owners[i], err)
		}
		if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: 1, Change: spill.Remove}}); err != nil {
			return err
		}
	}
	for _, l := range logs {
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

func callsAtOnce(ctx context.Context, env *Env) error {
	const partitions, keys, n = 4, 5, 20
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, 2*partitions*keys)
	logs := make([]spill.Log, partitions)
	for p := range logs {
		o := env.owner(1)
		o.Partition = int32(p)
		l, _, err := env.open(ctx, o)
		if err != nil {
			return err
		}
		logs[p] = l
		for k := range keys {
			key := strconv.Itoa(k)
			wg.Go(func() {
				err := appendOneByOne(ctx, env, l, o, key, n)
				if err != nil {
					cancel() // nobody waits for the rest
				}
				failed <- err
			})
			wg.Go(func() { failed <- drain(ctx, l, key, n) })
		}
	}
	wg.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	for _, l := range logs {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

func appendOneByOne(ctx context.Context, env *Env, l spill.Log, o spill.Owner, key string, n int64) error {
	for i := range n {
		r := env.record(key, 0, i)
		r.Message.Partition = o.Partition
		if err := l.Append(ctx, []spill.Record{r}); err != nil {
			return err
		}
	}
	return nil
}

// drain reads and marks records as they come, and returns an error if one is missing or comes twice.
func drain(ctx context.Context, l spill.Log, key string, n int64) error {
	for done := int64(-1); done < n-1; {
		ms, err := l.Read(ctx, key, done, spill.Size{Messages: 3})
		if err != nil {
			return err
		}
		if len(ms) == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("record %d of key %s has not come: %w", done+1, key, err)
			}
			continue
		}
		for i := range ms {
			if ms[i].Offset != done+1 {
				return fmt.Errorf("key %s: offset %d follows %d", key, ms[i].Offset, done)
			}
			done++
		}
		if err := l.Save(ctx, []spill.Mark{{Key: key, Through: done}}); err != nil {
			return err
		}
	}
	return l.Save(ctx, []spill.Mark{{Key: key, Through: n - 1, Change: spill.Remove}})
}

func endedContextEndsCalls(ctx context.Context, env *Env) error {
	return env.with(ctx, func(l spill.Log) error {
		ended, cancel := context.WithCancelCause(ctx)
		cancel(errEnded)
		if err := l.Append(ctx, env.records("a", 1)); err != nil {
			return err
		}
		_, readErr := l.Read(ended, "a", -1, spill.Size{})
		for what, err := range map[string]error{
			"append": l.Append(ended, env.records("a", 2)), "save": l.Save(ended, []spill.Mark{{Key: "a", Through: 1}}), "read": readErr,
		} {
			if err == nil {
				return fmt.Errorf("%s with a ctx that has ended: got no error, want one", what)
			}
		}
		if err := l.Append(ctx, env.records("a", 2)); err != nil {
			return fmt.Errorf("append after one whose ctx had ended: %w", err)
		}
		if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: 1}}); err != nil {
			return fmt.Errorf("save after one whose ctx had ended: %w", err)
		}
		return env.holds(ctx, l, "a", -1, 2)
	})
}

func closedIsClosed(ctx context.Context, env *Env) error {
	l, _, err := env.open(ctx, env.owner(1))
	if err != nil {
		return err
	}
	if err := l.Append(ctx, env.records("a", 1)); err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	_, readErr := l.Read(ctx, "a", -1, spill.Size{})
	for what, err := range map[string]error{
		"append": l.Append(ctx, env.records("a", 2)), "save": l.Save(ctx, []spill.Mark{{Key: "a", Through: 1}}), "read": readErr,
	} {
		if !errors.Is(err, spill.ErrClosed) {
			return fmt.Errorf("%s after Close: got the error %w, want one that wraps ErrClosed", what, nonNil(err))
		}
	}
	l, _, err = env.open(ctx, env.owner(2))
	if err != nil {
		return err
	}
	return errors.Join(env.holds(ctx, l, "a", -1, 1), l.Close())
}

func killedInAppend(ctx context.Context, env *Env) error {
	if env.Kill == nil {
		return ErrNotTested
	}
	durable := 0
	for round := range 5 {
		epoch := int64(3*round + 1)
		acked, err := env.Kill(ctx, epoch, durable+2*round+1)
		if err != nil {
			return err
		}
		if acked < durable {
			return fmt.Errorf("%d Appends are durable, and after a kill only %d", durable, acked)
		}
		durable = acked
		o := numberedOwner(env.Stream)
		o.Epoch = epoch + 1
		l, strands, err := env.open(ctx, o)
		if err != nil {
			return fmt.Errorf("open after a kill: %w", err)
		}
		if err := holdsNumbered(ctx, l, strands, o, durable); err != nil {
			return fmt.Errorf("after the kill %d, with %d Appends reported: %w", round, durable, err)
		}
		for i := range durable + 1 { // as the pipeline does, for what comes again
			if err := l.Append(ctx, numbered(o, i)); err != nil {
				return fmt.Errorf("append again after a kill: %w", err)
			}
		}
		durable++
		l, strands, err = env.restart(ctx, l, &o)
		if err != nil {
			return err
		}
		if err := errors.Join(holdsNumbered(ctx, l, strands, o, durable), l.Close(), env.closeStore()); err != nil {
			return err
		}
	}
	return nil
}

// holdsNumbered returns an error unless the first Appends of AppendNumbered are there, and behind them at most any part of one.
func holdsNumbered(ctx context.Context, l spill.Log, strands map[string]spill.Strand, o spill.Owner, durable int) error {
	want := make(map[string][]keystrand.Message)
	for i := range durable + 1 {
		for _, r := range numbered(o, i) {
			want[r.Key] = append(want[r.Key], r.Message)
		}
	}
	for k, wanted := range want {
		got, err := l.Read(ctx, k, -1, spill.Size{})
		if err != nil {
			return err
		}
		var bytes int64
		for i := range got {
			bytes += int64(got[i].Size())
		}
		if s := strands[k]; s.Records != int64(len(got)) || s.Bytes != bytes {
			return fmt.Errorf("key %q counts %d records and %d bytes, and has %d and %d", k, s.Records, s.Bytes, len(got), bytes)
		}
		for i := range wanted {
			last := wanted[i].Offset >= int64(durable*numberedRecords)
			if len(got) == 0 || got[0].Offset != wanted[i].Offset {
				if last {
					continue
				}
				return fmt.Errorf("key %q offset %d was reported as durable and is missing", k, wanted[i].Offset)
			}
			wanted[i].Epoch = o.Epoch
			if err := same(&got[0], &wanted[i]); err != nil {
				return err
			}
			got = got[1:]
		}
		if len(got) > 0 {
			return fmt.Errorf("key %q has %d records that were not appended, the first with offset %d", k, len(got), got[0].Offset)
		}
	}
	return nil
}

var errEnded = errors.New("spilltest: the test ended this ctx")
