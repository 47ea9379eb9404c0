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
		want     table
	}{
		{"all in order", 3, []string{"b1", "e1", "b2", "e2", "b3", "e3"}, table{}},
		{"the first comment is skipped", 2, []string{"b2", "e2"}, table{Violations: 1, Lost: 1}},
		{"a comment begins while another one is handled", 2, []string{"b1", "b2", "e1", "e2"}, table{Overlaps: 1, Violations: 1}},
		{"a comment begins again without a restart", 1, []string{"b1", "e1", "b1", "e1"}, table{Violations: 1}},
		{"a comment begins and never ends", 2, []string{"b1", "e1", "b2"}, table{Lost: 1}},
		{"a restart replays from an earlier comment", 3, []string{"b1", "e1", "b2", "e2", "restart", "b1", "e1", "b2", "e2", "b3", "e3"}, table{Replayed: 2, Bound: 2}},
		{"a restart interrupts a comment", 1, []string{"b1", "restart", "b1", "e1"}, table{Bound: 1}},
		{"a restart skips a comment", 3, []string{"b1", "e1", "b2", "restart", "b3", "e3"}, table{Violations: 1, Lost: 1, Bound: 2}},
		{"a replay is not in order", 3, []string{"b1", "e1", "b2", "e2", "b3", "e3", "restart", "b1", "e1", "b3", "e3"}, table{Violations: 1, Replayed: 2, Bound: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCheck(tt.messages)
				c.starts()
				for _, r := range tt.reports {
					if r == "restart" {
						c.crashed(time.Now(), func(Comment) bool { return false })
						c.starts()
						continue
					}
					c.heard(fmt.Sprintf("%c post-7 %s 0 0", r[0], r[1:]))
				}
				if got := c.result(); got != tt.want {
					t.Errorf("result = %+v, want %+v", got, tt.want)
				}
			})
		})
	}
}

func TestCheckKeepsPostsApart(t *testing.T) {
	c := newCheck(2)
	c.starts()
	for _, line := range []string{"b post-1 1 0 0", "b post-2 1 0 1", "e post-2 1 0 1", "e post-1 1 0 0"} {
		c.heard(line)
	}
	if got := c.result(); got.Violations != 0 || got.Overlaps != 0 || got.Lost != 0 {
		t.Errorf("result = %+v, want nothing broken", got)
	}
}

func TestCheckMeasuresOutageFromTheKillToTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCheck(3)
		c.starts()
		c.heard("b post-1 1 0 0")
		at := time.Now()
		time.Sleep(time.Second)
		c.crashed(at, func(Comment) bool { return true })
		c.starts()
		time.Sleep(5 * time.Second)
		for n := 1; n <= 3; n++ {
			c.heard(fmt.Sprintf("b post-1 %d 0 0", n))
			time.Sleep(time.Second)
			c.heard(fmt.Sprintf("e post-1 %d 0 0", n))
		}
		if got := c.result().Outage; got != 6 {
			t.Errorf("outage = %v s, want 6", got)
		}
	})
}

func TestCheckRatesTheTimeInWhichAProcessRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCheck(4)
		for n := range 2 {
			c.starts()
			time.Sleep(time.Minute) // until the process has its partitions
			for k := range 2 {
				c.heard(fmt.Sprintf("b post-1 %d 0 0", 2*n+k+1))
				time.Sleep(time.Second)
				c.heard(fmt.Sprintf("e post-1 %d 0 0", 2*n+k+1))
			}
		}
		if got := c.result().Keystrand; got != 1 {
			t.Errorf("rate = %v messages/s, want 1", got)
		}
	})
}

func TestCheckCountsWhatTheKilledProcessHadCommitted(t *testing.T) {
	c := newCheck(3)
	c.starts()
	for n := 1; n <= 3; n++ {
		c.heard(fmt.Sprintf("b post-1 %d 4 %d", n, 10+n))
	}
	c.crashed(time.Time{}, func(c Comment) bool { return c == Comment{"post-1", 2, 4, 12} })
	if got := c.result(); got.Committed != 1 || got.Bound != 2 {
		t.Errorf("committed = %d and bound = %d, want 1 and 2", got.Committed, got.Bound)
	}
}
