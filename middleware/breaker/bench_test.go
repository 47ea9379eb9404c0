package breaker

import (
	"context"
	"testing"

	"github.com/keystrand/keystrand"
)

func benchmark(b *testing.B, m keystrand.Middleware) {
	b.Helper()
	chain := m(func(context.Context, *keystrand.Call) error { return nil })
	c, ctx := keystrand.NewCall(&keystrand.Message{Stream: "orders"}), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if err := chain(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
}

func byStream(m *keystrand.Message) string { return m.Stream }

func BenchmarkClosed(b *testing.B)   { benchmark(b, New(Config{})) }
func BenchmarkClosedBy(b *testing.B) { benchmark(b, By(byStream, Config{})) }

func TestTurnsOfAClosedBreakerAllocateNothing(t *testing.T) {
	for name, m := range map[string]keystrand.Middleware{"New": New(Config{}), "By": By(byStream, Config{})} {
		chain := m((&service{}).next)
		c, ctx := keystrand.NewCall(&keystrand.Message{Stream: "orders"}), t.Context()
		if n := testing.AllocsPerRun(100, func() { _ = chain(ctx, c) }); n != 0 {
			t.Errorf("%s: %v allocations a turn", name, n)
		}
	}
}
