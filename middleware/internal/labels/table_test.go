package labels

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestTableReturnsOneValueForALabel(t *testing.T) {
	table := New(func(label string) *string { return &label }, func(*string, time.Duration) bool { return false })
	var all [16]*string
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i] = table.Get("a", time.Time{}) })
	}
	wg.Wait()
	for i, v := range all {
		if v != all[0] || *v != "a" {
			t.Errorf("goroutine %d got %p %q, goroutine 0 got %p", i, v, *v, all[0])
		}
	}
	if table.Get("b", time.Time{}) == all[0] || table.Len() != 2 {
		t.Errorf("label b got the value of label a, or %d labels are not 2", table.Len())
	}
}

func TestTableDropsUnusedLabelsAsNewOnesCome(t *testing.T) {
	table := New(func(string) int { return 0 }, func(_ int, unused time.Duration) bool { return unused > time.Minute })
	now, most := time.Unix(0, 0), 0
	for i := range 100_000 { // 1,000 labels are in use within any minute
		now = now.Add(60 * time.Millisecond)
		table.Get(strconv.Itoa(i), now)
		most = max(most, table.Len())
	}
	if most > 2_000 {
		t.Errorf("the table had %d labels, with 1,000 in use", most)
	}
}

func TestTableKeepsLabelsInUse(t *testing.T) {
	table := New(func(string) *int { return new(int) }, func(_ *int, unused time.Duration) bool { return unused > time.Minute })
	now := time.Unix(0, 0)
	busy := table.Get("busy", now)
	for i := range 10_000 {
		now = now.Add(time.Second)
		table.Get(strconv.Itoa(i), now)
		if i%50 == 0 && table.Get("busy", now) != busy {
			t.Fatalf("a label used every 50 s was dropped at label %d", i)
		}
	}
}
