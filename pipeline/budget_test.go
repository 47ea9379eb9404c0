package pipeline

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func hasRoom(b *budget, s *share) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.fetching || b.hasRoomLocked(s)
}

// begin is await for whoever has room.
func begin(b *budget, s *share) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fetchingLocked(s, true)
}

// I5: the budget against a dumb count: what is in use is the sum of what was taken and not given, it never exceeds the
// limit by more than one batch a partition, a guarantee is never lent, and nobody with nothing in flight waits.
func TestBudgetAgreesWithADumbCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := usage{rapid.IntRange(1, 200).Draw(t, "messages"), rapid.IntRange(1, 5000).Draw(t, "bytes")}
		const batch, size = 16, 40
		b := newBudget(limit, usage{batch, batch * size})
		type owner struct {
			s     *share
			taken []usage
		}
		var owners []*owner
		sum := func() (u usage) {
			for _, o := range owners {
				for _, x := range o.taken {
					u = u.plus(x)
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
					settledIn = settledIn && b.used == usage{} && b.owed == len(b.shares)
					owners = append(owners, &owner{s: b.open()})
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
				u := usage{}
				for range n {
					x := usage{1, rapid.IntRange(0, size).Draw(t, "size")}
					o.taken = append(o.taken, x)
					u = u.plus(x)
				}
				b.take(o.s, u)
			},
			"settle": func(t *rapid.T) {
				o := pick(t)
				if len(o.taken) == 0 {
					return
				}
				n := rapid.IntRange(1, len(o.taken)).Draw(t, "n")
				u := usage{}
				for _, x := range o.taken[:n] {
					u = u.plus(x)
				}
				o.taken = o.taken[n:]
				b.give(o.s, u)
			},
			"close": func(t *rapid.T) {
				o := pick(t)
				b.close(o.s)
				b.close(o.s) // again: nothing
				b.give(o.s, usage{1, 1})
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
				if over := used.over(limit); over.messages > most*batch || over.bytes > most*batch*size {
					t.Fatalf("I5: %+v in use of %+v with up to %d partitions", used, limit, most)
				}
				lent, g := usage{}, b.guaranteeLocked()
				for _, o := range owners {
					mine := usage{}
					for _, x := range o.taken {
						mine = mine.plus(x)
					}
					lent = lent.plus(mine.over(g))
					if mine.messages == 0 && !hasRoom(b, o.s) {
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

// No wake-up is lost: whoever waits for room goes on as soon as there is some, and leaves when its ctx ends.
func TestBudgetWakesWhoeverHasRoom(t *testing.T) {
	b := newBudget(usage{8, 1 << 20}, usage{3, 3})
	var wg sync.WaitGroup
	for range 8 {
		s := b.open()
		var inFlight atomic.Int64
		gave := make(chan struct{}, 1000)
		wg.Go(func() {
			for range 500 {
				if err := b.await(t.Context(), s); err != nil {
					t.Error(err)
				}
				b.take(s, usage{3, 3})
				inFlight.Add(3)
				gave <- struct{}{}
			}
			close(gave)
		})
		wg.Go(func() {
			for range gave {
				for range 3 {
					b.give(s, usage{1, 1})
				}
			}
		})
	}
	wg.Wait() // a lost wake-up hangs here
	if b.used != (usage{}) || b.lent != (usage{}) {
		t.Errorf("used %+v, lent %+v", b.used, b.lent)
	}
}

func TestBudgetAwaitEndsWithItsContext(t *testing.T) {
	b := newBudget(usage{1, 1}, usage{5, 5})
	s := b.open()
	b.take(s, usage{5, 5})
	cause := errors.New("leaving")
	for range 200 {
		ctx, cancel := context.WithCancelCause(t.Context())
		go cancel(cause)
		if err := b.await(ctx, s); !errors.Is(err, cause) {
			t.Fatal(err)
		}
	}
}

// No wake-up is lost at a gate: many wait for conditions of their own while others change and poke.
func TestGateLosesNoWakeUp(t *testing.T) {
	g := newGate()
	var n atomic.Int64
	var wg sync.WaitGroup
	for w := range int64(4) {
		wg.Go(func() {
			for i := range int64(500) {
				want := i*4 + w
				if err := g.await(t.Context(), func() bool { return n.Load() >= want }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			for range 500 {
				n.Add(1)
				g.poke()
			}
		})
	}
	wg.Wait()
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if g.await(ctx, func() bool { return false }) == nil {
			t.Fatal("await returned nil")
		}
	}
}
