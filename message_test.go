package keystrand_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
)

func TestOutcomeOfInterpretsTheErrorOfAHandler(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		err   error
		want  keystrand.Outcome
		after time.Duration
	}{
		{"nil", nil, keystrand.OutcomeHandled, 0},
		{"any other error", boom, keystrand.OutcomeFailed, 0},
		{"retry", keystrand.RetryAfter(time.Second, boom), keystrand.OutcomeRetry, time.Second},
		{"retry without a cause", keystrand.RetryAfter(time.Second, nil), keystrand.OutcomeRetry, time.Second},
		{"retry with a negative delay", keystrand.RetryAfter(-time.Second, boom), keystrand.OutcomeRetry, 0},
		{"permanent", keystrand.Permanent(boom), keystrand.OutcomePermanent, 0},
		{"permanent nil is nil", keystrand.Permanent(nil), keystrand.OutcomeHandled, 0},
		{"later", keystrand.Later(time.Second, "rate limit"), keystrand.OutcomePostponed, time.Second},
		{"later with a negative delay", keystrand.Later(-time.Second, "rate limit"), keystrand.OutcomePostponed, 0},
		{"later, wrapped", fmt.Errorf("call: %w", keystrand.Later(time.Second, "rate limit")), keystrand.OutcomePostponed, time.Second},
		{"permanent before later", errors.Join(keystrand.Later(time.Second, "x"), keystrand.Permanent(boom)), keystrand.OutcomePermanent, 0},
		{"retry before later", errors.Join(keystrand.Later(time.Second, "x"), keystrand.RetryAfter(time.Minute, boom)), keystrand.OutcomeRetry, time.Minute},
		{"later before skip", errors.Join(keystrand.Skip("x"), keystrand.Later(time.Second, "x")), keystrand.OutcomePostponed, time.Second},
		{"later before failure", errors.Join(boom, keystrand.Later(time.Second, "x")), keystrand.OutcomePostponed, time.Second},
		{"skip", keystrand.Skip("old"), keystrand.OutcomeSkipped, 0},
		{"wrapped", fmt.Errorf("save: %w", keystrand.Permanent(boom)), keystrand.OutcomePermanent, 0},
		{"permanent before retry", errors.Join(keystrand.RetryAfter(time.Second, boom), keystrand.Permanent(boom)), keystrand.OutcomePermanent, 0},
		{"retry before skip", errors.Join(keystrand.Skip("x"), keystrand.RetryAfter(time.Second, boom)), keystrand.OutcomeRetry, time.Second},
		{"skip before failure", errors.Join(boom, keystrand.Skip("x")), keystrand.OutcomeSkipped, 0},
		{"in a batch", &keystrand.BatchError{Settled: 2, Err: keystrand.Permanent(boom)}, keystrand.OutcomePermanent, 0},
		{"retry around permanent", keystrand.RetryAfter(time.Second, keystrand.Permanent(boom)), keystrand.OutcomePermanent, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, after := keystrand.OutcomeOf(c.err)
			if got != c.want || after != c.after {
				t.Errorf("OutcomeOf(%v) = %v, %v, want %v, %v", c.err, got, after, c.want, c.after)
			}
		})
	}
	if err := keystrand.RetryAfter(0, boom); !errors.Is(err, boom) {
		t.Errorf("RetryAfter(0, boom) = %v, want an error that wraps boom", err)
	}
	if err := keystrand.Later(time.Second, "the limit of tenant 7"); err.Error() != "postponed for 1s: the limit of tenant 7" {
		t.Errorf("Later: %v", err)
	}
	if err := keystrand.Permanent(boom); !errors.Is(err, boom) || err.Error() != "boom" {
		t.Errorf("Permanent(boom) = %v, want an error that wraps boom and reads the same", err)
	}
}

func TestChainPutsTheFirstMiddlewareOutermost(t *testing.T) {
	var order []string
	mark := func(name string) keystrand.Middleware {
		return func(next keystrand.Next) keystrand.Next {
			return func(ctx context.Context, c *keystrand.Call) error {
				order = append(order, name)
				return next(ctx, c)
			}
		}
	}
	next := keystrand.Chain(func(context.Context, *keystrand.Call) error { order = append(order, "handler"); return nil }, mark("a"), mark("b"))
	if err := next(t.Context(), keystrand.NewCall()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "handler"}; !reflect.DeepEqual(order, want) {
		t.Errorf("order = %v, want %v", order, want)
	}
}

func TestPanicInEveryKindOfHandlerIsAnErrorForMiddleware(t *testing.T) {
	boom := errors.New("boom")
	for name, next := range map[string]keystrand.Next{
		"handler": keystrand.HandlerNext(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { panic(boom) })),
		"batch":   keystrand.BatchNext(keystrand.BatchHandlerFunc(func(context.Context, []*keystrand.Message) error { panic(boom) })),
		"transformer": keystrand.TransformNext(keystrand.TransformerFunc(func(context.Context, *keystrand.Message, func(keystrand.Message)) error {
			panic(boom)
		})),
		"nil map": keystrand.HandlerNext(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error {
			return nilMap(nil)
		})),
	} {
		t.Run(name, func(t *testing.T) {
			var seen error
			observer := func(next keystrand.Next) keystrand.Next {
				return func(ctx context.Context, c *keystrand.Call) error {
					seen = next(ctx, c)
					return seen
				}
			}
			err := keystrand.Chain(next, observer)(t.Context(), keystrand.NewCall(&keystrand.Message{}))
			p, ok := errors.AsType[*keystrand.PanicError](err)
			if !ok || len(p.Stack) == 0 || seen == nil {
				t.Fatalf("error %v, middleware got %v; want a PanicError with a stack", err, seen)
			}
			if name != "nil map" && !errors.Is(err, boom) {
				t.Errorf("%v does not wrap the panic value", err)
			}
			if _, ok := errors.AsType[runtime.Error](err); name == "nil map" && !ok {
				t.Errorf("%v does not wrap the runtime error", err)
			}
		})
	}
}

func nilMap(m map[string]int) error {
	m["x"] = 1
	return nil
}

func TestTransformDropsTheOutputsOfAnEarlierAttempt(t *testing.T) {
	tries := 0
	next := keystrand.TransformNext(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
		tries++
		emit(keystrand.Message{Offset: m.Offset, Attempt: int32(tries)})
		if tries == 1 {
			return errors.New("again")
		}
		return nil
	}))
	twice := func(next keystrand.Next) keystrand.Next {
		return func(ctx context.Context, c *keystrand.Call) error {
			_ = next(ctx, c)
			return next(ctx, c)
		}
	}
	c := keystrand.NewCall(&keystrand.Message{Offset: 7})
	if err := keystrand.Chain(next, twice)(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if e := c.Emitted(); len(e) != 1 || e[0].Attempt != 2 || e[0].Offset != 7 {
		t.Errorf("emitted %+v, want only the output of the second attempt", e)
	}
	c.Reset()
	if len(c.Emitted()) != 0 {
		t.Error("Emitted is not empty after Reset")
	}
}

func TestKeyFunctionsReturnTheLanesOfAMessage(t *testing.T) {
	for _, c := range []struct {
		name    string
		f       keystrand.KeyFunc
		m       keystrand.Message
		lane    string
		ordered bool
	}{
		{"a key", keystrand.ByKey, keystrand.Message{Key: []byte("k")}, "k", true},
		{"no key is unordered", keystrand.ByKey, keystrand.Message{}, "", false},
		{"an empty key is a key", keystrand.ByKey, keystrand.Message{Key: []byte{}}, "", true},
		{"by partition", keystrand.ByPartition, keystrand.Message{Key: []byte("k")}, "", true},
		{"unordered", keystrand.Unordered, keystrand.Message{Key: []byte("k")}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := c.f(&c.m)
			lane, more, ordered := k.Lanes()
			if err != nil || lane != c.lane || ordered != c.ordered || more != nil || k.IsBarrier() {
				t.Errorf("lanes %q %q %v, err %v", lane, more, ordered, err)
			}
		})
	}
	if lane, more, ok := keystrand.KeysOf("a", "b").Lanes(); lane != "a" || len(more) != 1 || more[0] != "b" || !ok {
		t.Errorf("KeysOf: %q %q %v", lane, more, ok)
	}
	if _, _, ok := keystrand.KeysOf().Lanes(); ok {
		t.Error("KeysOf() is ordered, want unordered")
	}
	if b := keystrand.Barrier(); !b.IsBarrier() {
		t.Error("Barrier().IsBarrier() = false")
	}
}

func TestCloneStaysValidAfterTheMessageChanges(t *testing.T) {
	m := &keystrand.Message{Key: []byte("k"), Headers: []keystrand.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}}}
	c := m.Clone()
	m.Key, m.Headers[0] = nil, keystrand.Header{}
	if string(c.Key) != "k" || c.Headers[0].Key != "h" {
		t.Errorf("clone = %+v", c)
	}
	if v, ok := c.Header("h"); !ok || string(v) != "2" {
		t.Errorf(`Header("h") = %q, %v`, v, ok)
	}
	if _, ok := c.Header("x"); ok {
		t.Error(`Header("x") reports a header that does not exist`)
	}
	if c.Size() != 5 {
		t.Errorf("Size = %d, want 5", c.Size())
	}
}

func TestSizeCountsWhatTheNativeCounts(t *testing.T) {
	for _, c := range []struct {
		name   string
		value  []byte
		native keystrand.Native
		want   int
	}{
		{"no native", []byte("v"), nil, 2},
		{"in place of the value", nil, notes{}, 6},
		{"beside the value", []byte("v"), notes{}, 7},
		{"one that holds nothing", []byte("v"), row{}, 2},
	} {
		if got := (&keystrand.Message{Key: []byte("k"), Value: c.value, Native: c.native}).Size(); got != c.want {
			t.Errorf("%s: size = %d, want %d", c.name, got, c.want)
		}
	}
}

// unsized is a Native of unknown size.
type unsized struct{}

func (unsized) AppendValue(dst []byte) ([]byte, error) { return dst, nil }

// A Native that no byte limit can count must not fit into a message.
func TestNativeHasASize(t *testing.T) {
	var form any = unsized{}
	if _, ok := form.(keystrand.Native); ok {
		t.Error("a type without Size is a Native")
	}
}
