package show

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestCheckCountsWhatBreaksThePromises(t *testing.T) {
	tests := []struct {
		name     string
		messages int
		reports  []string // "restart": the process is killed and has committed nothing
		want     Counts
	}{
		{"all in order", 3, []string{"b1", "e1", "b2", "e2", "b3", "e3"}, Counts{}},
		{"the first comment is skipped", 2, []string{"b2", "e2"}, Counts{Violations: 1, Lost: 1}},
		{"a comment begins while another one is handled", 2, []string{"b1", "b2", "e1", "e2"}, Counts{Overlaps: 1, Violations: 1}},
		{"a comment begins again without a restart", 1, []string{"b1", "e1", "b1", "e1"}, Counts{Violations: 1}},
		{"a comment begins and never ends", 2, []string{"b1", "e1", "b2"}, Counts{Lost: 1}},
		{"a restart replays from an earlier comment", 3, []string{"b1", "e1", "b2", "e2", "restart", "b1", "e1", "b2", "e2", "b3", "e3"}, Counts{Replayed: 2, Bound: 2}},
		{"a restart interrupts a comment", 1, []string{"b1", "restart", "b1", "e1"}, Counts{Bound: 1}},
		{"a restart skips a comment", 3, []string{"b1", "e1", "b2", "restart", "b3", "e3"}, Counts{Violations: 1, Lost: 1, Bound: 2}},
		{"a replay is not in order", 3, []string{"b1", "e1", "b2", "e2", "b3", "e3", "restart", "b1", "e1", "b3", "e3"}, Counts{Violations: 1, Replayed: 2, Bound: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := NewCheck(tt.messages)
				c.Starts()
				for _, r := range tt.reports {
					if r == "restart" {
						c.Crashed(time.Now(), func(Comment) bool { return false })
						c.Starts()
						continue
					}
					c.Heard(fmt.Sprintf("%c post-7 %s 0 0", r[0], r[1:]))
				}
				if got := c.Result(); got != tt.want {
					t.Errorf("result = %+v, want %+v", got, tt.want)
				}
			})
		})
	}
}

func TestCheckKeepsPostsApart(t *testing.T) {
	c := NewCheck(2)
	c.Starts()
	for _, line := range []string{"b post-1 1 0 0", "b post-2 1 0 1", "e post-2 1 0 1", "e post-1 1 0 0"} {
		c.Heard(line)
	}
	if got := c.Result(); got.Violations != 0 || got.Overlaps != 0 || got.Lost != 0 {
		t.Errorf("result = %+v, want nothing broken", got)
	}
}

func TestCheckMeasuresOutageFromTheKillToTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCheck(3)
		c.Starts()
		c.Heard("b post-1 1 0 0")
		at := time.Now()
		time.Sleep(time.Second)
		c.Crashed(at, func(Comment) bool { return true })
		c.Starts()
		time.Sleep(5 * time.Second)
		for n := 1; n <= 3; n++ {
			c.Heard(fmt.Sprintf("b post-1 %d 0 0", n))
			time.Sleep(time.Second)
			c.Heard(fmt.Sprintf("e post-1 %d 0 0", n))
		}
		if got := c.Result().Outage; got != 6 {
			t.Errorf("outage = %v s, want 6", got)
		}
	})
}

func TestCheckRatesTheTimeInWhichAProcessRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCheck(4)
		for n := range 2 {
			c.Starts()
			time.Sleep(time.Minute) // until the process has its partitions
			for k := range 2 {
				c.Heard(fmt.Sprintf("b post-1 %d 0 0", 2*n+k+1))
				time.Sleep(time.Second)
				c.Heard(fmt.Sprintf("e post-1 %d 0 0", 2*n+k+1))
			}
		}
		if got := c.rate(); got != 1 {
			t.Errorf("rate = %v messages/s, want 1", got)
		}
	})
}

func TestCheckCountsWhatTheKilledProcessHadCommitted(t *testing.T) {
	c := NewCheck(3)
	c.Starts()
	for n := 1; n <= 3; n++ {
		c.Heard(fmt.Sprintf("b post-1 %d 4 %d", n, 10+n))
	}
	c.Crashed(time.Time{}, func(c Comment) bool { return c == Comment{"post-1", 2, 4, 12} })
	if got := c.Result(); got.Committed != 1 || got.Bound != 2 {
		t.Errorf("committed = %d and bound = %d, want 1 and 2", got.Committed, got.Bound)
	}
}
