package ratelimit

import (
	"context"
	"testing"

	"golang.org/x/time/rate"

	"github.com/keystrand/keystrand"
)

func returnNil(context.Context, *keystrand.Call) error { return nil }

func allowing() map[string]keystrand.Middleware {
	return map[string]keystrand.Middleware{
		"New": New(rate.NewLimiter(1e12, 1e9)),
		"By":  By(func(m *keystrand.Message) string { return m.Stream }, func(string) *rate.Limiter { return rate.NewLimiter(1e12, 1e9) }),
	}
}

func BenchmarkAllowed(b *testing.B) {
	for name, m := range allowing() {
		b.Run(name, func(b *testing.B) {
			chain, c := m(returnNil), keystrand.NewCall(message(0, "customer-7"))
			b.ReportAllocs()
			for b.Loop() {
				if err := chain(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPostponed(b *testing.B) {
	chain, c := New(rate.NewLimiter(1, 1))(returnNil), keystrand.NewCall(message(0, ""))
	b.ReportAllocs()
	for b.Loop() {
		c.Messages[0].Offset++
		_ = chain(b.Context(), c)
	}
}

func TestAllowedTurnsAllocateNothing(t *testing.T) {
	for name, m := range allowing() {
		chain, c, ctx := m(returnNil), keystrand.NewCall(message(0, "customer-7")), t.Context()
		if n := testing.AllocsPerRun(100, func() { _ = chain(ctx, c) }); n != 0 {
			t.Errorf("%s: %v allocations a turn", name, n)
		}
	}
}
