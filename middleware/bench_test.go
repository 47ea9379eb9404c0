package middleware

import (
	"log/slog"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
)

func benchmark(b *testing.B, ms ...keystrand.Middleware) {
	b.Helper()
	chain := keystrand.Chain(returning(nil), ms...)
	c := keystrand.NewCall(&keystrand.Message{Key: []byte("k"), Attempt: 1})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if err := chain(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNone(b *testing.B)    { benchmark(b) }
func BenchmarkRetry(b *testing.B)   { benchmark(b, Retry(RetryPolicy{})) }
func BenchmarkTimeout(b *testing.B) { benchmark(b, Timeout(time.Minute)) }
func BenchmarkLog(b *testing.B)     { benchmark(b, Log(slog.New(slog.DiscardHandler), LogConfig{})) }

func TestRetryAndLogAllocateNothingOnSuccess(t *testing.T) {
	chain := keystrand.Chain(returning(nil), Log(slog.New(slog.DiscardHandler), LogConfig{}), Retry(RetryPolicy{}))
	c := keystrand.NewCall(&keystrand.Message{Attempt: 1})
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = chain(ctx, c) }); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}
