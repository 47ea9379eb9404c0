package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// numbered returns n messages of each key, interleaved. Their values count from first.
func (env *Env) numbered(keys []string, first, n int) []keystrand.Message {
	var ms []keystrand.Message
	for i := range n {
		for _, k := range keys {
			ms = append(ms, keystrand.Message{Stream: env.Stream, Key: []byte(k), Value: strconv.AppendInt(nil, int64(first+i), 10)})
		}
	}
	return ms
}

// write calls Write and returns the messages that it did not report as durable. It returns an error if the report is wrong.
func (env *Env) write(ctx context.Context, w sink.Writer, ms []keystrand.Message) ([]keystrand.Message, error) {
	err := w.Write(ctx, ms)
	if err == nil {
		return nil, nil
	}
	p, ok := errors.AsType[*sink.PartialError](err)
	if !ok {
		return slices.Clone(ms), nil
	}
	if len(p.Errs) != len(ms) {
		return nil, fmt.Errorf("write: got a *PartialError with %d entries for %d messages", len(p.Errs), len(ms))
	}
	var left []keystrand.Message
	gap := make(map[string]bool)
	for i, err := range p.Errs {
		k := string(ms[i].Key)
		switch {
		case err != nil:
			left = append(left, ms[i])
			gap[k] = true
		case gap[k] && ms[i].Key != nil:
			return nil, fmt.Errorf("message %d (key %q value %q) is reported durable behind one of its key that is not", i, k, ms[i].Value)
		}
	}
	if len(left) == 0 {
		return nil, errors.New("write: got a *PartialError without an error in it, want nil")
	}
	return left, nil
}

// holds returns an error unless all of ms are stored.
func (env *Env) holds(ctx context.Context, ms []keystrand.Message) error {
	got, err := env.Stored(ctx)
	if err != nil {
		return fmt.Errorf("read what is stored: %w", err)
	}
	for i := range ms {
		if !slices.ContainsFunc(got, func(m keystrand.Message) bool { return env.same(&m, &ms[i]) }) {
			return fmt.Errorf("message %d (key %q value %q) is reported durable but not stored", i, ms[i].Key, ms[i].Value)
		}
	}
	return nil
}

// holdsInOrder returns an error unless exactly ms are stored, those of each key in order. With again, messages may be stored
// more than once, but none before the first copy of the message before it.
func (env *Env) holdsInOrder(ctx context.Context, ms []keystrand.Message, again bool) error {
	got, err := env.Stored(ctx)
	if err != nil {
		return fmt.Errorf("read what is stored: %w", err)
	}
	want, have := byKey(ms), byKey(got)
	for k, values := range want {
		seen := 0
		for at, v := range have[k] {
			switch {
			case seen < len(values) && v == values[seen]:
				seen++
			case again && slices.Contains(values[:seen], v):
			default:
				return fmt.Errorf("key %q: value %q is out of order at index %d: stored %q, written %q", k, v, at, have[k], values)
			}
		}
		if seen < len(values) {
			return fmt.Errorf("key %q: value %q is not stored: stored %q, written %q", k, values[seen], have[k], values)
		}
	}
	for k := range have {
		if want[k] == nil {
			return fmt.Errorf("key %q is stored but was never written", k)
		}
	}
	return nil
}

func byKey(ms []keystrand.Message) map[string][]string {
	by := make(map[string][]string)
	for i := range ms {
		by[string(ms[i].Key)] = append(by[string(ms[i].Key)], string(ms[i].Value))
	}
	return by
}

// same reports whether two messages are equal in all that the sink has to keep.
func (env *Env) same(a, b *keystrand.Message) bool {
	if a.Stream != b.Stream || !env.sameBytes(a.Key, b.Key) || !env.sameBytes(a.Value, b.Value) {
		return false
	}
	if !env.NoTime && !b.Time.IsZero() && a.Time.UnixMilli() != b.Time.UnixMilli() {
		return false
	}
	x, y := a.Headers, b.Headers
	if env.HeadersAreMap {
		x, y = slices.SortedFunc(slices.Values(x), byName), slices.SortedFunc(slices.Values(y), byName)
	}
	return env.NoHeaders || slices.EqualFunc(x, y, func(x, y keystrand.Header) bool {
		return x.Key == y.Key && env.sameBytes(x.Value, y.Value)
	})
}

func byName(x, y keystrand.Header) int { return strings.Compare(x.Key, y.Key) }

func (env *Env) sameBytes(a, b []byte) bool {
	return (env.EmptyIsNull || (a == nil) == (b == nil)) && bytes.Equal(a, b)
}
