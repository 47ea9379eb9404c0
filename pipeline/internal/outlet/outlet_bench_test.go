package outlet

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// BenchmarkOutlet adds outputs of 1 or 1,000 lanes, at most 2,000 at once, to a sink that stores at once, one op an output.
// failing is the number of other lanes that have failed and wait for their pause. An op must not cost more with them.
//
//	go test -run '^$' -bench BenchmarkOutlet ./pipeline/internal/outlet
func BenchmarkOutlet(b *testing.B) {
	for _, lanes := range []int{1, 1000} {
		for _, failing := range []int{0, 20_000} {
			b.Run(fmt.Sprintf("lanes=%d/failing=%d", lanes, failing), func(b *testing.B) { benchOutlet(b, lanes, failing) })
		}
	}
}

func benchOutlet(b *testing.B, lanes, failing int) {
	b.Helper()
	const window = 2000
	free := make(chan []*Output[bool], window+1) // outputs to add
	var durable []*Output[bool]                  // used by the writer only
	x, err := Open(&fakeSink{write: func(_ context.Context, _ int, ms []keystrand.Message) error {
		var errs []error
		for i := range ms {
			if ms[i].Value == nil {
				continue
			}
			if errs == nil {
				errs = make([]error, len(ms))
			}
			errs[i] = errTransient
		}
		if errs == nil {
			return nil
		}
		return &sink.PartialError{Errs: errs}
	}}, 1, Hooks[bool]{
		Durable: func(outputs []*Output[bool]) { durable = slices.Clone(outputs) },
		Dropped: func([]*Output[bool]) {},
		Safe:    func(err error) error { return err },
		Failing: func(error) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	w := NewOwner[bool](func() {
		if len(durable) > 0 {
			free <- durable
			durable = nil
		}
	})
	for i := range failing {
		x.Add(&Output[bool]{
			Owner: w, Lane: uint64(lanes + i), Messages: []keystrand.Message{{Key: []byte("k"), Value: []byte("fails")}},
			pause: maxPause, // long, so that few are written again during the benchmark
		})
	}
	all := make([]*Output[bool], window)
	for i := range all {
		all[i] = &Output[bool]{Owner: w, Lane: uint64(i % lanes), Messages: []keystrand.Message{{Key: fmt.Append(nil, i%lanes)}}}
	}
	free <- all
	run := func(n int) {
		for n > 0 {
			outputs := <-free
			for i, o := range outputs {
				if n == 0 {
					free <- outputs[i:]
					break
				}
				n--
				if !x.Add(o) {
					b.Fatal("Add = false")
				}
			}
		}
	}
	run(10 * window)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
	for n := 0; n < window; {
		n += len(<-free)
	}
	b.StopTimer()
	w.Cut()
	x.Cut(w)
	if err := x.Close(); err != nil {
		b.Fatal(err)
	}
}
