package sink_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

func TestResultIsBehindOnlyAfterAFailureOfTheSameKey(t *testing.T) {
	ms := []keystrand.Message{{Key: []byte("a")}, {Key: []byte("b")}, {}, {Key: []byte("a")}, {}, {Key: []byte("a"), Stream: "other"}, {Key: []byte("a")}}
	res := sink.NewResult(ms)
	if res.Err() != nil || res.Behind(6) || res.Failed(0) {
		t.Error("a new Result reports a failure")
	}
	cause := errors.New("full")
	res.Fail(3, cause)
	res.Fail(2, cause) // without a key: no message is behind it
	want := []bool{false, false, false, false, false, false, true}
	for i := range ms {
		if got := res.Behind(i); got != want[i] {
			t.Errorf("Behind(%d) = %v, want %v", i, got, want[i])
		}
	}
	res.Fail(0, cause)
	if !res.Behind(3) {
		t.Error("Behind(3) = false after Fail(0), want true")
	}
	p, ok := errors.AsType[*sink.PartialError](res.Err())
	if !ok || p.Errs[3] != cause || !errors.Is(p.Errs[6], sink.ErrBehind) || p.Errs[1] != nil { //nolint:errorlint // the very error
		t.Errorf("Err() = %v", res.Err())
	}
}

func ExampleResult() {
	ms := []keystrand.Message{
		{Key: []byte("a"), Value: []byte("1")},
		{Key: []byte("a"), Value: []byte("2")},
		{Key: []byte("b"), Value: []byte("3")},
	}
	res := sink.NewResult(ms)
	for i := range ms {
		if res.Behind(i) {
			continue
		}
		if i == 0 {
			res.Fail(i, errors.New("disk full"))
			continue
		}
		fmt.Printf("stored %s\n", ms[i].Value)
	}
	fmt.Println(res.Err())
	// Output:
	// stored 3
	// sink: 2 of 3 messages not written: disk full
}
