package keystrand_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/keystrand/keystrand"
)

type comment struct{ Post, Text string }

// counting returns a decoder of comments and the number of its calls of unmarshal.
func counting() (d *keystrand.Decoder[comment], calls *int) {
	calls = new(int)
	return keystrand.NewDecoder[comment](func(data []byte, v any) error { *calls++; return json.Unmarshal(data, v) }), calls
}

func commentOf(post string) *keystrand.Message {
	return &keystrand.Message{Stream: "comments", Partition: 3, Offset: 9, Value: []byte(`{"Post":"` + post + `"}`)}
}

var errBoom = errors.New("boom")

func TestDecoderDecodesOnceForKeyFunctionAndAllAttempts(t *testing.T) {
	for name, end := range map[string]func(d *keystrand.Decoder[comment], seen *[]string) keystrand.Next{
		"handler": func(d *keystrand.Decoder[comment], seen *[]string) keystrand.Next {
			return keystrand.HandlerNext(d.Handle(func(_ context.Context, _ *keystrand.Message, v comment) error {
				*seen = append(*seen, v.Post)
				return errBoom
			}))
		},
		"batch handler": func(d *keystrand.Decoder[comment], seen *[]string) keystrand.Next {
			return keystrand.BatchNext(d.HandleBatch(func(_ context.Context, _ []*keystrand.Message, vs []comment) error {
				*seen = append(*seen, vs[0].Post)
				return errBoom
			}))
		},
		"transformer": func(d *keystrand.Decoder[comment], seen *[]string) keystrand.Next {
			return keystrand.TransformNext(d.Transform(func(_ context.Context, _ *keystrand.Message, v comment, _ func(keystrand.Message)) error {
				*seen = append(*seen, v.Post)
				return errBoom
			}))
		},
	} {
		for _, keyed := range []bool{true, false} {
			d, calls := counting()
			m := commentOf("p1")
			if keyed {
				k, err := d.Key(func(c comment) keystrand.Key { return keystrand.KeyOfString(c.Post) })(m)
				if lane, _, _ := k.Lanes(); lane != "p1" || err != nil {
					t.Errorf("%s: key %q, %v", name, lane, err)
				}
			}
			var seen []string
			next := end(d, &seen)
			for range 3 { // three failed turns
				if err := next(t.Context(), keystrand.NewCall(m)); !errors.Is(err, errBoom) {
					t.Fatal(err)
				}
			}
			if *calls != 1 || !slices.Equal(seen, []string{"p1", "p1", "p1"}) {
				t.Errorf("%s, key function %v: decoded %d times, want once; handler got %q", name, keyed, *calls, seen)
			}
		}
	}
}

func TestDecoderDecodesAValueThatMiddlewareReplaced(t *testing.T) {
	d, calls := counting()
	m := commentOf("p1")
	if _, err := d.Decode(m); err != nil {
		t.Fatal(err)
	}
	var got string
	next := keystrand.HandlerNext(d.Handle(func(_ context.Context, _ *keystrand.Message, v comment) error { got = v.Post; return errBoom }))
	replace := func(ctx context.Context, c *keystrand.Call) error {
		c.Messages[0].Value = commentOf("p2").Value
		return next(ctx, c)
	}
	for i := range 2 {
		_ = replace(t.Context(), keystrand.NewCall(m)) // boom
		if got != "p2" || *calls != i+2 {
			t.Errorf("attempt %d: handler got %q, decoded %d times; want p2 and %d", i+1, got, *calls, i+2)
		}
	}
	if v, err := d.Decode(m); v.Post != "p1" || err != nil || *calls != 3 {
		t.Errorf("Decode of the original message = %+v, %v, decoded %d times; want p1 and 3", v, err, *calls)
	}
}

func TestDecodersOfOneTypeDoNotShareDecodedValues(t *testing.T) {
	m := commentOf("p1")
	d, _ := counting()
	other := keystrand.NewDecoder[comment](func(_ []byte, v any) error {
		c, _ := v.(*comment)
		c.Post = "other"
		return nil
	})
	for range 2 {
		a, _ := d.Decode(m)
		b, _ := other.Decode(m)
		if a.Post != "p1" || b.Post != "other" {
			t.Errorf("decoded %q and %q, want p1 and other", a.Post, b.Post)
		}
	}
}

func TestDecodeFailureIsPermanentAndNamesTheMessage(t *testing.T) {
	d := keystrand.NewDecoder[struct{ A int }](json.Unmarshal)
	m := &keystrand.Message{Stream: "orders", Partition: 3, Offset: 9, Value: []byte("{")}
	called := false
	_, keyErr := d.Key(func(struct{ A int }) keystrand.Key { called = true; return keystrand.Key{} })(m)
	h := d.Handle(func(context.Context, *keystrand.Message, struct{ A int }) error { called = true; return nil })
	tr := d.Transform(func(context.Context, *keystrand.Message, struct{ A int }, func(keystrand.Message)) error {
		called = true
		return nil
	})
	for shape, err := range map[string]error{"key": keyErr, "handler": h.Handle(t.Context(), m), "transformer": tr.Transform(t.Context(), m, nil)} {
		if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent || called {
			t.Fatalf("%s: err = %v, called = %v", shape, err, called)
		}
		if got := err.Error(); got != `keystrand: decode orders/3@9 into struct { A int }: unexpected end of JSON input` {
			t.Errorf("%s: error = %q", shape, got)
		}
	}
	if _, err := keystrand.NewDecoder[int](nil).Decode(m); err == nil {
		t.Error("Decode without an unmarshal function returned no error")
	}
}

func TestDecoderReturnsTheZeroValueForATombstone(t *testing.T) {
	d, calls := counting()
	m := &keystrand.Message{Key: []byte("k")}
	got := comment{Post: "none"}
	if err := d.Handle(func(_ context.Context, _ *keystrand.Message, v comment) error { got = v; return nil }).Handle(t.Context(), m); err != nil || got != (comment{}) {
		t.Errorf("handler got %+v, err %v", got, err)
	}
	k, err := d.Key(func(c comment) keystrand.Key { return keystrand.KeyOfString("post " + c.Post) })(m)
	if lane, _, _ := k.Lanes(); lane != "post " || err != nil {
		t.Errorf("key %q, %v", lane, err)
	}
	if *calls != 0 {
		t.Errorf("unmarshal was called %d times for a tombstone, want 0", *calls)
	}
	if _, err := d.Decode(&keystrand.Message{Native: row{}}); err == nil {
		t.Error("Decode treats a native message without bytes as a tombstone")
	}
	if got, err := d.Decode(&keystrand.Message{Native: notes{}}); err != nil || got != (comment{}) {
		t.Errorf("a Native that is a tombstone: %+v, %v", got, err)
	}
	if _, err := d.Decode(&keystrand.Message{Value: []byte{}}); err == nil {
		t.Error("Decode treats an empty value as a tombstone")
	}
}

// notes is a Native beside the value, not in its place.
type notes struct{ row }

func (notes) Tombstone() bool { return true }

func (notes) Size() int { return 5 }

type row struct{}

func (row) AppendValue(dst []byte) ([]byte, error) { return dst, nil }
func (row) Size() int                              { return 0 }

func TestDecodedBatchSettlesTheMessagesBeforeAnUndecodableOne(t *testing.T) {
	bad := &keystrand.Message{Stream: "comments", Offset: 77, Value: []byte("{")}
	batch := []*keystrand.Message{commentOf("a"), commentOf("b"), bad, commentOf("c")}
	retry, skip := keystrand.RetryAfter(5, errBoom), keystrand.Skip("old")
	for _, c := range []struct {
		name    string
		ms      []*keystrand.Message
		err     error // returned by the handler
		gets    []string
		settled int // BatchError.Settled; -1: no BatchError
		outcome keystrand.Outcome
	}{
		{"all can be decoded", []*keystrand.Message{commentOf("a"), commentOf("b")}, nil, []string{"a", "b"}, -1, keystrand.OutcomeHandled},
		{"the third cannot", batch, nil, []string{"a", "b"}, 2, keystrand.OutcomePermanent},
		{"the first cannot", batch[2:], nil, nil, 0, keystrand.OutcomePermanent},
		{"the earlier messages fail", batch, errBoom, []string{"a", "b"}, -1, keystrand.OutcomeFailed},
		{"the earlier messages are retried", batch, retry, []string{"a", "b"}, -1, keystrand.OutcomeRetry},
		{"the earlier messages are postponed", batch, keystrand.Later(5, "limit"), []string{"a", "b"}, -1, keystrand.OutcomePostponed},
		{"an earlier message fails", batch, &keystrand.BatchError{Settled: 1, Err: errBoom}, []string{"a", "b"}, 1, keystrand.OutcomeFailed},
		// The handler gets two messages. It must not be able to skip the third.
		{"the handler names a message that it did not get", batch, &keystrand.BatchError{Settled: 2, Err: skip}, []string{"a", "b"}, -1, keystrand.OutcomeFailed},
		{"the earlier messages are skipped", batch, skip, []string{"a", "b"}, 0, keystrand.OutcomeSkipped},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := counting()
			var gets []string
			err := d.HandleBatch(func(_ context.Context, ms []*keystrand.Message, vs []comment) error {
				for i, v := range vs {
					if string(commentOf(v.Post).Value) != string(ms[i].Value) {
						t.Errorf("value %d is %+v, but message %d is %s", i, v, i, ms[i].Value)
					}
					gets = append(gets, v.Post)
				}
				return c.err
			}).HandleBatch(t.Context(), c.ms)
			settled := -1
			if e, ok := errors.AsType[*keystrand.BatchError](err); ok {
				settled = e.Settled
			}
			if o, _ := keystrand.OutcomeOf(err); o != c.outcome || settled != c.settled || !slices.Equal(gets, c.gets) {
				t.Errorf("handler got %q, outcome %v, settled %d; want %q, %v, %d; error %v", gets, o, settled, c.gets, c.outcome, c.settled, err)
			}
		})
	}
}

func TestClonesAndOutputsKeepNoDecodedValue(t *testing.T) {
	d, calls := counting()
	m := commentOf("p1")
	if _, err := d.Decode(m); err != nil {
		t.Fatal(err)
	}
	c := keystrand.NewCall(m)
	err := keystrand.TransformNext(d.Transform(func(_ context.Context, m *keystrand.Message, _ comment, emit func(keystrand.Message)) error {
		emit(*m)
		return nil
	}))(t.Context(), c)
	if err != nil || *calls != 1 {
		t.Fatalf("decoded %d times, %v", *calls, err)
	}
	for i, m := range []*keystrand.Message{m.Clone(), &c.Emitted()[0]} {
		if v, err := d.Decode(m); err != nil || v.Post != "p1" || *calls != i+2 {
			t.Errorf("copy %d: %+v, %v, decoded %d times; want %d", i, v, err, *calls, i+2)
		}
	}
}
