package budget

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func hasRoom(b *Budget, s *Share) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.fetching || b.hasRoomLocked(s)
}

// begin calls Await for a share that has room.
func begin(b *Budget, s *Share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fetchingLocked(s, true)
}

// I5: compares the budget with a naive count. Usage is the sum of Take minus Give, and exceeds the limit by at most one
// batch for each partition. A guarantee is never lent. A share without usage never waits.
func TestBudgetAgreesWithADumbCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := Usage{rapid.IntRange(1, 200).Draw(t, "messages"), rapid.IntRange(1, 5000).Draw(t, "bytes")}
		const batch, size = 16, 40
		b := New(limit, Usage{batch, batch * size})
		type owner struct {
			s     *Share
			taken []Usage
		}
		var owners []*owner
		sum := func() (u Usage) {
			for _, o := range owners {
				for _, x := range o.taken {
					u = u.Plus(x)
				}
			}
			return u
		}
		pick := func(t *rapid.T) *owner {
			if len(owners) == 0 {
				t.Skip("none")
			}
			return owners[rapid.IntRange(0, len(owners)-1).Draw(t, "owner")]
		}
		most := 0
		settledIn := true // no partition was opened after another had begun to fetch: then guarantees hold at once
		t.Repeat(map[string]func(*rapid.T){
			"open": func(*rapid.T) {
				if len(owners) < 5 {
					settledIn = settledIn && b.used == Usage{} && b.owed == len(b.shares)
					owners = append(owners, &owner{s: b.Open()})
					most = max(most, len(owners))
				}
			},
			"begin": func(t *rapid.T) {
				if o := pick(t); hasRoom(b, o.s) {
					begin(b, o.s)
				}
			},
			"fetch": func(t *rapid.T) {
				o := pick(t)
				if !hasRoom(b, o.s) {
					return
				}
				begin(b, o.s)
				n := rapid.IntRange(0, batch).Draw(t, "n")
				u := Usage{}
				for range n {
					x := Usage{1, rapid.IntRange(0, size).Draw(t, "size")}
					o.taken = append(o.taken, x)
					u = u.Plus(x)
				}
				b.Take(o.s, u)
			},
			"settle": func(t *rapid.T) {
				o := pick(t)
				if len(o.taken) == 0 {
					return
				}
				n := rapid.IntRange(1, len(o.taken)).Draw(t, "n")
				u := Usage{}
				for _, x := range o.taken[:n] {
					u = u.Plus(x)
				}
				o.taken = o.taken[n:]
				b.Give(o.s, u)
			},
			"close": func(t *rapid.T) {
				o := pick(t)
				b.Close(o.s)
				b.Close(o.s) // a second Close does nothing
				b.Give(o.s, Usage{1, 1})
				for i, x := range owners {
					if x == o {
						owners = append(owners[:i], owners[i+1:]...)
						break
					}
				}
			},
			"": func(t *rapid.T) {
				used := sum()
				if b.used != used {
					t.Fatalf("I5: in use %+v, want %+v", b.used, used)
				}
				if over := used.over(limit); over.Messages > most*batch || over.Bytes > most*batch*size {
					t.Fatalf("I5: %+v in use of %+v with up to %d partitions", used, limit, most)
				}
				lent, g := Usage{}, b.guaranteeLocked()
				for _, o := range owners {
					mine := Usage{}
					for _, x := range o.taken {
						mine = mine.Plus(x)
					}
					lent = lent.Plus(mine.over(g))
					if mine.Messages == 0 && !hasRoom(b, o.s) {
						t.Fatal("I6: a partition with nothing in flight waits")
					}
					if settledIn && mine.within(g) && !hasRoom(b, o.s) {
						t.Fatalf("I6: a partition with %+v of its guarantee %+v waits", mine, g)
					}
				}
				if b.lent != lent {
					t.Fatalf("I5: lent %+v, want %+v", b.lent, lent)
				}
			},
		})
	})
}

// No wake-up is lost: Await returns as soon as there is room, and when its ctx ends.
func TestBudgetWakesWhoeverHasRoom(t *testing.T) {
	b := New(Usage{8, 1 << 20}, Usage{3, 3})
	var wg sync.WaitGroup
	for range 8 {
		s := b.Open()
		var inFlight atomic.Int64
		gave := make(chan struct{}, 1000)
		wg.Go(func() {
			for range 500 {
				if err := b.Await(t.Context(), s); err != nil {
					t.Error(err)
				}
				b.Take(s, Usage{3, 3})
				inFlight.Add(3)
				gave <- struct{}{}
			}
			close(gave)
		})
		wg.Go(func() {
			for range gave {
				for range 3 {
					b.Give(s, Usage{1, 1})
				}
			}
		})
	}
	wg.Wait() // a lost wake-up hangs here
	if b.used != (Usage{}) || b.lent != (Usage{}) {
		t.Errorf("used %+v, lent %+v", b.used, b.lent)
	}
}

func TestBudgetAwaitEndsWithItsContext(t *testing.T) {
	b := New(Usage{1, 1}, Usage{5, 5})
	s := b.Open()
	b.Take(s, Usage{5, 5})
	cause := errors.New("leaving")
	for range 200 {
		ctx, cancel := context.WithCancelCause(t.Context())
		go cancel(cause)
		if err := b.Await(ctx, s); !errors.Is(err, cause) {
			t.Fatal(err)
		}
	}
}

func TestStatsCountWhatIsInFlightAndKeepTheMost(t *testing.T) {
	b := New(Usage{10, 100}, Usage{5, 50})
	s, other := b.Open(), b.Open()
	b.Take(s, Usage{3, 30})
	b.Take(other, Usage{1, 101}) // larger than the limit
	b.Take(other, Usage{2, 101}) // two messages, each within the limit
	b.Give(s, Usage{2, 20})
	b.Close(other)
	b.Take(s, Usage{1, 5}) // less than the maximum
	if got, want := b.Stats(), (Stats{Used: Usage{2, 15}, Most: Usage{6, 232}, Oversized: 1}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

func TestPartitionAloneWaitsOnceItHasUsedItsGuaranteeAndThePool(t *testing.T) {
	b := New(Usage{8, 1 << 20}, Usage{3, 3})
	s := b.Open()
	b.Take(s, Usage{7, 7})
	if !hasRoom(b, s) {
		t.Error("I6: a share waits with 7 of 8 messages in flight")
	}
	b.Take(s, Usage{1, 1})
	if hasRoom(b, s) {
		t.Error("I5: a share may fetch with 8 of 8 messages in flight")
	}
}

// I6: a guarantee is never lent, so its owner goes on although another partition has used up the pool.
func TestAwaitReturnsWhenUsageFallsBelowTheGuaranteeAndThePoolIsUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Usage{8, 1 << 20}, Usage{3, 3})
		s, other := b.Open(), b.Open()
		b.Take(other, Usage{6, 6}) // its guarantee of 2, and the pool
		b.Take(s, Usage{2, 2})
		var over atomic.Bool
		go func() {
			if err := b.Await(t.Context(), s); err != nil {
				t.Error(err)
			}
			over.Store(true)
		}()
		synctest.Wait()
		if over.Load() {
			t.Error("I5: Await returned although the guarantee is used up")
		}
		b.Give(s, Usage{1, 1})
		synctest.Wait()
		if !over.Load() {
			t.Error("I6: Await has not returned although usage is below the guarantee")
		}
		b.Close(other) // the pool is free: a lost wake-up fails the test and does not hang it
	})
}
