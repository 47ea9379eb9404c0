package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

func durableWhenWritten(ctx context.Context, env *Env, w sink.Writer) error {
	for i := range 5 {
		ms := env.numbered([]string{"a", "b", "c"}, i, 1)
		if err := w.Write(ctx, ms); err != nil {
			return fmt.Errorf("in Write %d: %w", i, err)
		}
		if err := env.holds(ctx, ms); err != nil {
			return fmt.Errorf("after Write %d: %w", i, err)
		}
	}
	return nil
}

func orderPerKey(ctx context.Context, env *Env, w sink.Writer) error {
	var all []keystrand.Message
	for i := range 20 {
		ms := env.numbered([]string{"a", "b", "c", "d", "e", "f", "g"}, i*5, 5)
		all = append(all, ms...)
		if err := w.Write(ctx, ms); err != nil {
			return err
		}
	}
	return env.holdsInOrder(ctx, all, false)
}

func nothingToWrite(ctx context.Context, _ *Env, w sink.Writer) error {
	if err := w.Write(ctx, nil); err != nil {
		return fmt.Errorf("write without messages: %w", err)
	}
	return nil
}

func contentIsKept(ctx context.Context, env *Env, w sink.Writer) error {
	at := time.Date(2020, 2, 3, 4, 5, 6, 7_000_000, time.UTC)
	binary := []byte{0, 1, 0x80, 0xff, '\n', '"', '\\'}
	headers := []keystrand.Header{{Key: "trace", Value: []byte("1")}, {Key: "trace", Value: binary}, {Key: "none"}, {Key: "empty", Value: []byte{}}}
	if env.HeadersAreMap {
		headers[1].Key = "binary"
	}
	want := []keystrand.Message{
		{Key: []byte("k"), Value: []byte("plain"), Time: at},
		{Key: nil, Value: []byte("null key"), Time: at},
		{Key: []byte{}, Value: []byte("empty key"), Time: at},
		{Key: []byte("empty value"), Value: []byte{}, Time: at},
		{Key: []byte("null value"), Value: nil, Time: at},
		{Key: binary, Value: binary, Time: at},
		{Key: []byte("headers"), Value: []byte("v"), Time: at, Headers: headers},
	}
	for i := range want {
		want[i].Stream = env.Stream
	}
	if err := w.Write(ctx, slices.Clone(want)); err != nil {
		return err
	}
	got, err := env.Stored(ctx)
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("stored %d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if !slices.ContainsFunc(got, func(m keystrand.Message) bool { return env.same(&m, &want[i]) }) {
			return fmt.Errorf("message %d is not stored as written: key %q value %q headers %v time %v; stored: %+v",
				i, want[i].Key, want[i].Value, want[i].Headers, want[i].Time, got)
		}
	}
	return nil
}

func messagesBelongToTheCaller(ctx context.Context, env *Env, w sink.Writer) error {
	ms := env.numbered([]string{"a", "b"}, 0, 3)
	want := slices.Clone(ms)
	if err := w.Write(ctx, ms); err != nil {
		return err
	}
	for i := range ms {
		if !env.same(&ms[i], &want[i]) {
			return fmt.Errorf("message %d was changed by Write", i)
		}
		ms[i] = keystrand.Message{Stream: env.Stream, Key: []byte("reused"), Value: []byte("reused")}
	}
	return env.holds(ctx, want)
}

func durableComesBeforeTheRest(ctx context.Context, env *Env, w sink.Writer) error {
	ms := env.numbered([]string{"a", "b", "c"}, 0, 4)
	env.Trouble()
	left, err := env.write(ctx, w, ms)
	if err != nil {
		return err
	}
	var durable []keystrand.Message
	for i := range ms {
		if !slices.ContainsFunc(left, func(m keystrand.Message) bool { return env.same(&m, &ms[i]) }) {
			durable = append(durable, ms[i])
		}
	}
	return env.holds(ctx, durable)
}

func writingTheRestAgainHeals(ctx context.Context, env *Env, w sink.Writer) error {
	var all []keystrand.Message
	for round := range 3 {
		ms := env.numbered([]string{"a", "b", "c"}, round*4, 4)
		all = append(all, ms...)
		env.Trouble()
		for try := 0; len(ms) > 0; try++ {
			if try == 100 {
				return fmt.Errorf("%d messages are still not durable after %d tries", len(ms), try)
			}
			left, err := env.write(ctx, w, ms)
			if err != nil {
				return err
			}
			ms = left
		}
	}
	return env.holdsInOrder(ctx, all, true)
}

func tooLargeIsPermanentAndAlone(ctx context.Context, env *Env, w sink.Writer) error {
	ms := env.numbered([]string{"a", "b", "c"}, 0, 3) // a0 b0 c0 a1 b1 c1 a2 b2 c2
	const large = 4                                   // b1
	ms[large].Value = bytes.Repeat([]byte{'x'}, env.MaxBytes)
	err := w.Write(ctx, ms)
	p, ok := errors.AsType[*sink.PartialError](err)
	if !ok || len(p.Errs) != len(ms) {
		return fmt.Errorf("write with a message that is too large: want a *PartialError with %d entries, got: %w", len(ms), err)
	}
	if o, _ := keystrand.OutcomeOf(p.Errs[large]); o != keystrand.OutcomePermanent {
		return fmt.Errorf("the error of the large message has the outcome %v, want %v: %w", o, keystrand.OutcomePermanent, p.Errs[large])
	}
	var durable, behind []keystrand.Message
	for i, err := range p.Errs {
		switch {
		case i == large:
		case string(ms[i].Key) == "b" && i > large:
			if err == nil {
				return fmt.Errorf("message %d is reported durable behind the large message of its key", i)
			}
			if o, _ := keystrand.OutcomeOf(err); o == keystrand.OutcomePermanent {
				return fmt.Errorf("the error of message %d, behind the large message of its key, is permanent too: %w", i, err)
			}
			behind = append(behind, ms[i])
		case err != nil:
			return fmt.Errorf("message %d, of another key or before the large message, failed too: %w", i, err)
		default:
			durable = append(durable, ms[i])
		}
	}
	if err := w.Write(ctx, behind); err != nil {
		return fmt.Errorf("write the messages behind the large one again: %w", err)
	}
	return env.holdsInOrder(ctx, append(durable, behind...), false)
}

func endedContextEndsWrite(ctx context.Context, env *Env, w sink.Writer) error {
	if err := w.Write(ctx, env.numbered([]string{"a"}, 0, 1)); err != nil {
		return err
	}
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errEnded)
	ms := env.numbered([]string{"a", "b"}, 1, 2)
	left, err := env.write(ended, w, ms)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return env.holds(ctx, ms) // Write may ignore the ended ctx if it is fast: then all has to be stored
	}
	return nil
}

func writeAfterEndedContextWorks(ctx context.Context, env *Env, w sink.Writer) error {
	all := env.numbered([]string{"a", "b"}, 0, 4)
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errEnded)
	left, err := env.write(ended, w, all)
	if err != nil {
		return err
	}
	if err := w.Write(ctx, left); err != nil {
		return fmt.Errorf("write after one whose ctx had ended: %w", err)
	}
	return env.holdsInOrder(ctx, all, true)
}

func writersWorkAtOnce(ctx context.Context, env *Env, w sink.Writer) error {
	const writers = 8
	opened := []sink.Writer{w}
	for len(opened) < writers {
		another, err := env.Sink.Open()
		if err != nil {
			return fmt.Errorf("writer %d: %w", len(opened), err)
		}
		opened = append(opened, another)
	}
	var all []keystrand.Message
	errs := make(chan error, writers)
	for i, w := range opened {
		keys := []string{"a" + strconv.Itoa(i), "b" + strconv.Itoa(i)}
		all = append(all, env.numbered(keys, 0, 20)...)
		go func() {
			for n := range 10 {
				if err := w.Write(ctx, env.numbered(keys, n*2, 2)); err != nil {
					errs <- fmt.Errorf("writer %d: %w", i, err)
					return
				}
			}
			errs <- nil
		}()
	}
	var failed []error
	for range opened {
		failed = append(failed, <-errs)
	}
	for _, w := range opened[1:] {
		failed = append(failed, w.Close())
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return env.holdsInOrder(ctx, all, false)
}

func closeEndsEverything(ctx context.Context, env *Env, w sink.Writer) error {
	return w.Write(ctx, env.numbered([]string{"a"}, 0, 1))
}

func closedOpensNothing(env *Env) error {
	if _, err := env.Sink.Open(); err == nil {
		return errors.New("open a closed sink: got a writer, want an error")
	}
	return nil
}

var errEnded = errors.New("sinktest: the test ended this ctx")
