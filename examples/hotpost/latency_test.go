package main

import (
	"slices"
	"testing"
	"time"
)

func TestPlanGivesEachPostItsNumbersInTheOrderOfTheirTimes(t *testing.T) {
	all := plan(tenfold, time.Second, 3*time.Second)
	counts := map[string]int{}
	virals := 0
	for _, c := range all {
		counts[c.post]++
		if c.n != counts[c.post] {
			t.Fatalf("%s: comment %d comes as number %d", c.post, c.n, counts[c.post])
		}
		if c.post == viral {
			virals++
			if c.due < time.Second {
				t.Fatalf("the viral post has a comment at %v", c.due)
			}
		}
	}
	if !slices.IsSortedFunc(all, func(a, b comment) int { return int(a.due - b.due) }) {
		t.Error("comments are not in the order in which they are due")
	}
	if others := len(all) - virals; others != 4_500 || virals < 3_990 || virals > 4_000 {
		t.Errorf("%d other and %d viral comments, want 4,500 and 4,000", others, virals)
	}
	if n := len(plan(tenfold, -1, time.Second)); n != 1_500 {
		t.Errorf("%d comments without the viral post, want 1,500", n)
	}
}

func TestLatenciesCountUnhandledCommentsWithTheTimeTheyHaveWaited(t *testing.T) {
	l := newLatencies([]comment{{0, "a", 1}, {time.Second, "b", 1}, {time.Second, viral, 1}, {2 * time.Second, "a", 2}})
	l.handles("a", 1, 10*time.Millisecond)
	l.handles("a", 1, 9*time.Second) // a repeat after a crash
	l.handles("a", 2, 5*time.Second)
	if p, unhandled := l.between(0, time.Second, 4*time.Second); p != 10*time.Millisecond || unhandled != 0 {
		t.Errorf("first second = %v and %d unhandled, want 10ms and 0", p, unhandled)
	}
	if p, unhandled := l.between(0, 3*time.Second, 4*time.Second); p != 3*time.Second || unhandled != 2 {
		t.Errorf("all = %v and %d unhandled, want the 3s of b, and 2: a was handled after 4s", p, unhandled)
	}
}

func TestLatenciesOfTheLastSecondIncludeThoseThatWait(t *testing.T) {
	l := newLatencies([]comment{{0, "a", 1}, {time.Second, "b", 1}})
	l.handles("a", 1, 100*time.Millisecond)
	for at, want := range map[time.Duration]time.Duration{
		50 * time.Millisecond:  50 * time.Millisecond, // a waits
		500 * time.Millisecond: 100 * time.Millisecond,
		3 * time.Second:        2 * time.Second, // b waits
	} {
		if got := l.recent(at); got != want {
			t.Errorf("recent(%v) = %v, want %v", at, got, want)
		}
	}
	l.handles("b", 1, 4*time.Second)
	if got := l.recent(6 * time.Second); got != 0 {
		t.Errorf("recent = %v when nothing waits, want 0", got)
	}
}

func TestP99IsNotExceededByNinetyNinePercent(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i))
	}
	if got := p99(all); got != 198 {
		t.Errorf("p99 of 1 to 200 = %d, want 198", got)
	}
	if got := p99(nil); got != 0 {
		t.Errorf("p99 of nothing = %d, want 0", got)
	}
}
