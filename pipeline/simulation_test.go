// Virtual time: each seed is played in its own bubble.

package pipeline_test

import (
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

var (
	seeds = flag.Int("seeds", 150, "TestSimulation: number of seeds to play")
	first = flag.Uint64("first", 1, "TestSimulation: first seed")
	story = flag.Bool("story", false, "TestSimulation: tell what happened in the seeds that fail")
)

// Plays pipelines with random handlers, keys, policies, sinks, members, crashes and faults, and compares what they do
// with a dumb model, the world. A seed that fails names the promise that was broken, I1 to I11. Replay it:
//
//	go test ./pipeline -run Simulation -first SEED -seeds 1 -story
//
// Every random choice comes from the seed. Only the order of goroutines that are ready at the same moment varies.
func TestSimulation(t *testing.T) { // seeds 31, 32, 33, 34
	const together = 50 // a group that fails is the last one
	var sum tally
	for from := 0; from < *seeds && !t.Failed(); from += together {
		n := min(together, *seeds-from)
		t.Run(fmt.Sprintf("%d seeds from %d", n, *first+uint64(from)), func(t *testing.T) {
			for i := range n {
				seed := *first + uint64(from+i)
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, seed)
						w.play()
						sum.add(&w.tally)
					})
				})
			}
		})
	}
	t.Logf("%d seeds: %s", *seeds, sum.String())
}

// replay is the command that plays one seed again.
const replay = "go test ./pipeline -run Simulation -first %d -seeds 1 -story"

// go test takes a flag of its own away from the test, and needs an argument for most of them.
func TestCommandThatReplaysASeedUsesNoFlagOfGoTest(t *testing.T) {
	n := 0
	for arg := range strings.FieldsSeq(replay) {
		name, isFlag := strings.CutPrefix(arg, "-")
		if !isFlag || name == "run" {
			continue
		}
		n++
		if flag.Lookup(name) == nil || flag.Lookup("test."+name) != nil {
			t.Errorf("-%s is no flag of this test", name)
		}
	}
	if n != 3 {
		t.Errorf("the command has %d flags, want 3", n)
	}
}

// tally counts what happened, to show that a simulation plays what it is meant to play.
type tally [nTallies]atomic.Int64

type tallied int

const (
	tHandled tallied = iota
	tReplayed
	tFenced
	tSkipped
	tLetters
	tDiscarded
	tAppended
	tFromLog
	tHeld
	tHot
	tRemoved
	tEpochs
	tRevoked
	tLost
	tCrashed
	tStopped
	tFaults
	tRefused
	nTallies
)

func (c *tally) count(what tallied) { c[what].Add(1) }

func (c *tally) add(other *tally) {
	for i := range c {
		c[i].Add(other[i].Load())
	}
}

func (c *tally) String() (s string) {
	for i, name := range []string{
		"handled", "replayed", "fenced", "skipped", "dead-lettered", "discarded", "appended", "from the log", "strands held", "strands hot", "strands removed",
		"epochs", "revoked", "lost", "crashed", "stopped", "faults", "refused by the store",
	} {
		s += fmt.Sprintf("%s %d, ", name, c[i].Load())
	}
	return s[:len(s)-2]
}
