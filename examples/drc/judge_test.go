package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/examples/internal/show"
)

// sampleLog has one table: change i has transaction "i". Lanes are letters; "ddl" is a statement.
func sampleLog(changes ...string) (log []logged) {
	for i, lanes := range changes {
		l := logged{change: change{"topic/db.t", fmt.Sprint(i), 0}, at: time.Unix(int64(i), 0)}
		if lanes == "ddl" {
			l.statement = true
		} else {
			l.lanes = strings.Split(lanes, "")
		}
		log = append(log, l)
	}
	return log
}

// sampleEvents reads "b0 e0 kill b1": the begin and the end of change 0, and so on. Event i is at second i.
func sampleEvents(text string) (events []event) {
	process := 0
	for i, word := range strings.Fields(text) {
		if word == "kill" {
			process++
			continue
		}
		events = append(events, event{
			change: change{"topic/db.t", word[1:], 0}, begins: word[0] == 'b', process: process, at: time.Unix(int64(i), 0),
		})
	}
	return events
}

func TestJudgeCountsWhatBreaksThePromises(t *testing.T) {
	for _, tt := range []struct {
		name   string
		log    []string
		events string
		want   show.Counts
	}{
		{"in order", []string{"a", "a", "b"}, "b0 b2 e0 b1 e2 e1", show.Counts{Bound: 3}},
		{"a lane is skipped", []string{"a", "a"}, "b1 e1", show.Counts{Violations: 1, Lost: 1, Bound: 1}},
		{"two of a lane at once", []string{"a", "ab"}, "b0 b1 e0 e1", show.Counts{Violations: 1, Overlaps: 1, Bound: 2}},
		{"a value moves to another row", []string{"ax", "ab", "bx"}, "b0 e0 b1 e1 b2 e2", show.Counts{Bound: 3}},
		{"the other row has the value too early", []string{"ax", "ab", "cx"}, "b2 e2 b0 e0 b1 e1", show.Counts{Violations: 2, Bound: 3}},
		{"a statement before an earlier row", []string{"a", "ddl"}, "b1 e1 b0 e0", show.Counts{Violations: 1, Bound: 2}},
		{"a row before an earlier statement", []string{"ddl", "a"}, "b1 e1 b0 e0", show.Counts{Violations: 1, Bound: 2}},
		{"a statement beside a row", []string{"a", "ddl"}, "b0 b1 e0 e1", show.Counts{Violations: 1, Overlaps: 1, Bound: 2}},
		{"a replay in order", []string{"a", "a"}, "b0 e0 b1 kill b0 e0 b1 e1", show.Counts{Replayed: 1, Bound: 2}},
		{"a replay that skips", []string{"a", "a", "a"}, "b0 e0 b1 e1 b2 e2 kill b0 e0 b2 e2", show.Counts{Violations: 1, Replayed: 2, Bound: 3}},
		{"a change that is nowhere in the log", []string{"a"}, "b0 e0 b7 e7", show.Counts{Violations: 2, Bound: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := newJudge(sampleLog(tt.log...)).judge(sampleEvents(tt.events), func(event) bool { return false })
			if got != tt.want {
				t.Errorf("counts = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestJudgeCountsWhatTheKilledProcessHadCommitted(t *testing.T) {
	events := sampleEvents("b0 e0 b1 e1 kill b1 e1")
	got := newJudge(sampleLog("a", "b")).judge(events, func(e event) bool { return e.transaction == "0" })
	if want := (show.Counts{Committed: 1, Bound: 1, Replayed: 1}); got != want {
		t.Errorf("counts = %+v, want %+v", got, want)
	}
}

func TestLagsCountWhatIsLoggedAndNotHandledAtATime(t *testing.T) {
	log, events := sampleLog("a", "b", "c", "d"), sampleEvents("b0 e0 b1 e1 b1 e1") // log: seconds 0 to 3; ends: 1, 3 and 5
	for second, want := range map[int64]int{0: 1, 1: 1, 2: 2, 3: 2, 9: 2} {
		if got := lags(log, events, time.Unix(second, 0))["topic/db.t"]; got != want {
			t.Errorf("lag at second %d = %d, want %d", second, got, want)
		}
	}
}

func TestPerSecondLeavesOutTheTimeBetweenTwoProcesses(t *testing.T) {
	if got := perSecond(sampleEvents("b0 e0 b1 e1 kill kill kill kill b2 e2")); got != 3./4 {
		t.Errorf("rate = %v, want 3 changes in 3 and 1 seconds", got)
	}
}
