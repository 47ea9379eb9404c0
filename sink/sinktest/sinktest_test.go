package sinktest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/sink/sinktest"
)

const limit = 1000

var errTooLarge = errors.New("too large")

// newEnv returns an Env of a memory sink that keeps the contract. Writing again heals each fault.
func newEnv() *sinktest.Env {
	s := memory.New()
	var mu sync.Mutex
	trouble := 0
	s.SetFault(func(_ context.Context, m *keystrand.Message) error {
		if len(m.Value) >= limit {
			return keystrand.Permanent(errTooLarge)
		}
		mu.Lock()
		defer mu.Unlock()
		if trouble == 0 {
			return nil
		}
		trouble--
		switch trouble {
		case 7, 3: // the 5th and the 9th message
			return errors.New("store is down")
		case 1:
			return memory.ErrReplyLost
		}
		return nil
	})
	return &sinktest.Env{
		Sink:     s,
		Stored:   func(context.Context) ([]keystrand.Message, error) { return s.Messages(), nil },
		MaxBytes: limit,
		Trouble: func() {
			mu.Lock()
			defer mu.Unlock()
			trouble = 12
		},
	}
}

func TestMemoryKeepsTheContract(t *testing.T) {
	for _, c := range sinktest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Test(t, newEnv()) })
		})
	}
}

func TestCaseWithoutItsNeedsIsNotTested(t *testing.T) {
	for _, c := range sinktest.Cases() {
		env := newEnv()
		env.Trouble, env.MaxBytes = nil, 0
		err := c.Run(t.Context(), env)
		needy := slices.Contains([]string{"DurableComesBeforeTheRest", "WritingTheRestAgainHeals", "TooLargeIsPermanentAndAlone"}, c.Name)
		if errors.Is(err, sinktest.ErrNotTested) != needy {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}

// broken is a memory sink that breaks one clause.
type broken struct {
	sink.Sink

	write func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error
	open  func() (sink.Writer, error)
	close func() error
}

func (b broken) Open() (sink.Writer, error) {
	if b.open != nil {
		return b.open()
	}
	w, err := b.Sink.Open()
	if err != nil {
		return nil, err
	}
	return brokenWriter{w, b}, nil
}

func (b broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Sink.Close()
}

type brokenWriter struct {
	sink.Writer

	broken broken
}

func (w brokenWriter) Write(ctx context.Context, ms []keystrand.Message) error {
	if w.broken.write == nil {
		return w.Writer.Write(ctx, ms)
	}
	return w.broken.write(ctx, w.Writer, ms)
}

// Each sink breaks one clause, and the case of that name fails.
func TestEveryCaseFailsForTheSinkThatBreaksIt(t *testing.T) {
	type write = func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error
	for _, x := range []struct {
		name, by string
		write    write
		breaks   func(env *sinktest.Env) sink.Sink
	}{
		{name: "DurableWhenWritten", by: "dropping the last message", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			return w.Write(ctx, ms[:max(len(ms)-1, 0)])
		}},
		{name: "OrderPerKey", by: "writing backwards", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			ms = slices.Clone(ms)
			slices.Reverse(ms)
			return w.Write(ctx, ms)
		}},
		{name: "OrderPerKey", by: "writing twice without need", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			return errors.Join(w.Write(ctx, ms), w.Write(ctx, ms))
		}},
		{name: "NothingToWrite", by: "refusing nothing", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			if len(ms) == 0 {
				return errors.New("no messages")
			}
			return w.Write(ctx, ms)
		}},
		{name: "ContentIsKept", by: "making null keys empty", write: changed(func(m *keystrand.Message) {
			if m.Key == nil {
				m.Key = []byte{}
			}
		})},
		{name: "ContentIsKept", by: "making empty values null", write: changed(func(m *keystrand.Message) {
			if len(m.Value) == 0 {
				m.Value = nil
			}
		})},
		{name: "ContentIsKept", by: "dropping a header", write: changed(func(m *keystrand.Message) { m.Headers = m.Headers[:max(len(m.Headers)-1, 0)] })},
		{name: "ContentIsKept", by: "changing the time", write: changed(func(m *keystrand.Message) { m.Time = m.Time.AddDate(0, 0, 1) })},
		{name: "TimeIsKeptOrRefused", by: "writing now for 1970", write: changed(func(m *keystrand.Message) {
			if m.Time.UnixMilli() == 0 {
				m.Time = time.Now()
			}
		})},
		{name: "TimeIsKeptOrRefused", by: "losing the sign", write: changed(func(m *keystrand.Message) {
			m.Time = time.UnixMilli(max(m.Time.UnixMilli(), -m.Time.UnixMilli()))
		})},
		{name: "TimeIsKeptOrRefused", by: "retrying for ever", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			if len(ms) > 0 && ms[0].Time.UnixMilli() < 0 {
				return errors.New("out of range")
			}
			return w.Write(ctx, ms)
		}},
		{name: "MessagesBelongToTheCaller", by: "changing them", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			err := w.Write(ctx, ms)
			clear(ms)
			return err
		}},
		{name: "MessagesBelongToTheCaller", by: "storing them after the return", breaks: keptTooLong},
		{name: "DurableComesBeforeTheRest", by: "forgetting the key's gap", write: unordered},
		{name: "DurableComesBeforeTheRest", by: "saying that all is durable", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			_ = w.Write(ctx, ms)
			return nil
		}},
		{name: "DurableComesBeforeTheRest", by: "counting entries wrong", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			if p, ok := errors.AsType[*sink.PartialError](w.Write(ctx, ms)); ok {
				return &sink.PartialError{Errs: p.Errs[1:]}
			}
			return nil
		}},
		{name: "WritingTheRestAgainHeals", by: "never healing", write: func(_ context.Context, _ sink.Writer, _ []keystrand.Message) error {
			return errors.New("store is down")
		}},
		{name: "WritingTheRestAgainHeals", by: "storing backwards what failed", breaks: backwardsAfterTrouble},
		{name: "TooLargeIsPermanentAndAlone", by: "failing all", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			for i := range ms {
				if len(ms[i].Value) >= limit {
					return keystrand.Permanent(errTooLarge)
				}
			}
			return w.Write(ctx, ms)
		}},
		{name: "TooLargeIsPermanentAndAlone", by: "not calling it permanent", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			err := w.Write(ctx, ms)
			if p, ok := errors.AsType[*sink.PartialError](err); ok {
				for i := range p.Errs {
					if errors.Is(p.Errs[i], errTooLarge) {
						p.Errs[i] = errTooLarge
					}
				}
			}
			return err
		}},
		{name: "TooLargeIsPermanentAndAlone", by: "writing what stands behind it", write: unordered},
		{name: "EndedContextEndsWrite", by: "claiming success", write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
			err := w.Write(ctx, ms)
			if ctx.Err() != nil {
				err = nil
			}
			return err
		}},
		{name: "WriteAfterEndedContextWorks", by: "staying broken", breaks: brokenForGood},
		{name: "WritersWorkAtOnce", by: "having one writer only", breaks: func(env *sinktest.Env) sink.Sink {
			w, err := env.Sink.Open()
			return broken{Sink: env.Sink, open: func() (sink.Writer, error) { return w, err }}
		}},
		{name: "CloseEndsEverything", by: "not closing", breaks: func(env *sinktest.Env) sink.Sink {
			return broken{Sink: env.Sink, close: func() error { return nil }}
		}},
	} {
		t.Run(x.name+" by "+x.by, func(t *testing.T) {
			env := newEnv()
			if x.breaks != nil {
				env.Sink = x.breaks(env)
			} else {
				env.Sink = broken{Sink: env.Sink, write: x.write}
			}
			cases := sinktest.Cases()
			i := slices.IndexFunc(cases, func(c sinktest.Case) bool { return c.Name == x.name })
			if err := cases[i].Run(t.Context(), env); err == nil || errors.Is(err, sinktest.ErrNotTested) {
				t.Errorf("the case did not notice: %v", err)
			}
		})
	}
}

func changed(change func(*keystrand.Message)) func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
	return func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
		ms = slices.Clone(ms)
		for i := range ms {
			change(&ms[i])
		}
		return w.Write(ctx, ms)
	}
}

// unordered writes each message alone, even if one before it has failed.
func unordered(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
	res := sink.NewResult(ms)
	for i := range ms {
		if p, ok := errors.AsType[*sink.PartialError](w.Write(ctx, ms[i:i+1])); ok {
			res.Fail(i, p.Errs[0])
		}
	}
	return res.Err()
}

func keptTooLong(env *sinktest.Env) sink.Sink {
	var kept []keystrand.Message
	var writer sink.Writer
	stored := env.Stored
	env.Stored = func(ctx context.Context) ([]keystrand.Message, error) {
		if err := writer.Write(ctx, kept); err != nil {
			return nil, err
		}
		return stored(ctx)
	}
	return broken{Sink: env.Sink, write: func(_ context.Context, w sink.Writer, ms []keystrand.Message) error {
		writer, kept = w, ms
		return nil
	}}
}

func backwardsAfterTrouble(env *sinktest.Env) sink.Sink {
	failed := false
	return broken{Sink: env.Sink, write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
		if failed {
			ms = slices.Clone(ms)
			slices.Reverse(ms)
		}
		err := w.Write(ctx, ms)
		failed = err != nil
		return err
	}}
}

func brokenForGood(env *sinktest.Env) sink.Sink {
	ended := false
	return broken{Sink: env.Sink, write: func(ctx context.Context, w sink.Writer, ms []keystrand.Message) error {
		if ended = ended || ctx.Err() != nil; ended {
			return errors.New("store is down")
		}
		return w.Write(ctx, ms)
	}}
}
