package tenure_test

import (
	"errors"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/tenure"
)

// TestTenureTellsEachChangeOnce compares a Tenure with three flags, under random calls.
func TestTenureTellsEachChangeOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := tenure.New("test", source.ID{Stream: "orders", Partition: 3, Epoch: 2}, 10)
		var revoked, lost, released bool
		var frontier int64 = 10
		var want []source.Leave
		for range rapid.IntRange(1, 12).Draw(t, "calls") {
			switch rapid.SampledFrom([]string{"revoke", "lose", "release", "commit"}).Draw(t, "call") {
			case "revoke":
				news := !revoked && !lost && !released
				if got := own.Revoke(source.Leave{}); got != news {
					t.Fatalf("Revoke = %t, want %t", got, news)
				}
				if news {
					revoked, want = true, append(want, source.Leave{})
				}
			case "lose":
				news := !lost && !released
				if got := own.Lose("session expired"); got != news {
					t.Fatalf("Lose = %t, want %t", got, news)
				}
				if news {
					lost, want = true, append(want, source.Leave{Lost: true})
				}
			case "release":
				if err := own.Release(); (err != nil) != released {
					t.Fatalf("Release = %v, released before: %t", err, released)
				}
				released = true
			case "commit":
				f := rapid.Int64Range(8, 14).Draw(t, "frontier")
				err := own.Commit(f)
				if fenced := errors.Is(err, commit.ErrFenced); fenced != (lost || released) {
					t.Fatalf("Commit = %v, lost %t, released %t", err, lost, released)
				}
				if allowed := !lost && !released && f >= frontier; (err == nil) != allowed {
					t.Fatalf("Commit(%d) after %d = %v", f, frontier, err)
				}
				if err == nil {
					frontier = f
				}
			}
			if own.Over() != (revoked || lost) || isClosed(own.Left()) != own.Over() || own.Released() != released {
				t.Fatalf("over %t, released %t; want %t, %t", own.Over(), own.Released(), revoked || lost, released)
			}
			if why, is := own.Lost(); is != lost || is != (why == "session expired") {
				t.Fatalf("Lost = %q, %t; want %t", why, is, lost)
			}
		}
		for _, w := range want {
			if got := <-own.Leaving(); got != w {
				t.Fatalf("Leaving has sent %+v, want %+v", got, w)
			}
		}
		if n := len(own.Leaving()); n > 0 {
			t.Fatalf("Leaving has %d more values", n)
		}
	})
}

// TestTenureIsSafeForConcurrentUse has only one of many Revokes, Loses and Releases succeed.
func TestTenureIsSafeForConcurrentUse(t *testing.T) {
	own := tenure.New("test", source.ID{Stream: "orders"}, 0)
	var wg sync.WaitGroup
	var mu sync.Mutex
	count := map[string]int{}
	try := func(what string, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if ok {
			count[what]++
		}
	}
	for range 8 {
		wg.Go(func() { try("revoked", own.Revoke(source.Leave{})) })
		wg.Go(func() { try("lost", own.Lose("")) })
		wg.Go(func() { _ = own.Commit(1); own.Over() })
	}
	wg.Wait()
	try("released", own.Release() == nil)
	try("released", own.Release() == nil)
	if count["lost"] != 1 || count["released"] != 1 || count["revoked"] > 1 {
		t.Errorf("succeeded: %v", count)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
