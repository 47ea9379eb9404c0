//go:build unix

package livetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// run is a scenario under way.
type run struct {
	t       *testing.T
	cluster Cluster
	setup   scenario
	seed    uint64
	stream  string
	group   string
	outputs string // the stream that members write to; empty: none
	dir     string
	record  *Recorder // of the test itself

	members map[string]*process // those that run
	logs    []string

	loaded     atomic.Bool  // all is produced
	settledNow atomic.Int64 // count, for the loader
	mu         sync.Mutex
	produced   []Message // guarded by mu

	tail    *os.File
	rest    []byte
	torn    int
	events  []Event
	settled map[Place]map[int64]bool
	count   int // messages settled
	owners  map[Place]string
	begun   map[string]bool // members whose pipeline runs
	broken  *Report         // what check has found, if promises are broken
}

func newRun(t *testing.T, c Cluster, s scenario) *run {
	t.Helper()
	s = s.withDefaults()
	r := &run{
		t: t, cluster: c, setup: s, seed: seedOf(t), members: map[string]*process{},
		settled: map[Place]map[int64]bool{}, owners: map[Place]string{}, begun: map[string]bool{}, dir: dirOf(t),
	}
	t.Logf("seed %d (again with KEYSTRAND_LIVE_SEED=%d)", r.seed, r.seed)
	stream, err := c.NewStream(t.Context(), s.partitions)
	if err != nil {
		t.Fatal(err)
	}
	r.stream, r.group = stream, stream+"-group"
	if s.outputs {
		if r.outputs, err = c.NewStream(t.Context(), s.partitions); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(r.dir, "history")
	if r.record, err = NewRecorder(path, "test"); err != nil {
		t.Fatal(err)
	}
	if r.tail, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func seedOf(t *testing.T) uint64 {
	t.Helper()
	if s := os.Getenv("KEYSTRAND_LIVE_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("KEYSTRAND_LIVE_SEED: %v", err)
		}
		return seed
	}
	return rand.Uint64()
}

// dirOf is where history and logs are kept: with KEYSTRAND_LIVE_DIR below that, else until the end of the test.
func dirOf(t *testing.T) string {
	t.Helper()
	keep := os.Getenv("KEYSTRAND_LIVE_DIR")
	if keep == "" {
		return t.TempDir()
	}
	dir := filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "_"))
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// note writes an event of the test itself.
func (r *run) note(k Kind) { r.record.Write(Event{Kind: k}) }

func (r *run) close() {
	for _, m := range r.members {
		_ = m.cmd.Process.Kill() // a paused one, too
		<-m.exited
	}
	if r.t.Failed() {
		r.tellLogs()
		if r.broken != nil {
			r.t.Logf("as said above the logs, the history breaks promises:\n%v", r.broken) // where only the end of all this is shown
		}
	}
	_ = r.record.Close()
	_ = r.tail.Close()
}

// tellLogs shows the end of each member's log, without its debug lines.
func (r *run) tellLogs() {
	for _, path := range r.logs {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var lines []string
		for l := range strings.Lines(string(b)) {
			if !strings.Contains(l, "level=DEBUG") {
				lines = append(lines, l)
			}
		}
		r.t.Logf("%s:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-15):], ""))
	}
}

// guard is how long anything may take that has to happen: only a hang takes longer.
const guard = 90 * time.Second

func (r *run) wait(c <-chan struct{}, otherwise string) {
	r.t.Helper()
	hang := time.NewTimer(guard) // real time: other processes have no bubble
	defer hang.Stop()
	select {
	case <-c:
	case <-hang.C:
		r.t.Fatal(otherwise)
	}
}

// until reads the history until something holds. A member that ends by itself is an error.
func (r *run) until(what string, holds func() bool) {
	r.t.Helper()
	began, before := time.Now(), r.count
	for {
		r.read()
		if holds() {
			return
		}
		for name, m := range r.members {
			select {
			case <-m.exited:
				r.t.Fatalf("%s has ended while waiting until %s: %v", name, what, m.err)
			default:
			}
		}
		if r.count != before {
			began, before = time.Now(), r.count
		}
		if time.Since(began) > guard { // real time: hang guard; as long as messages are settled there is none
			r.tellUnsettled()
			r.tellBroken()
			r.t.Fatalf("nothing was settled for %v while waiting until %s; %d of %d settled", guard, what, r.count, r.total())
		}
		time.Sleep(10 * time.Millisecond) // real time: other processes write the history
	}
}

func (r *run) tellUnsettled() {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := 0
	for _, m := range r.produced {
		if !r.settled[m.Place][m.Offset] {
			if told++; told < 10 {
				r.t.Logf("not settled: %s/%d@%d key %s, owner %s", m.Stream, m.Partition, m.Offset, m.Key, r.owners[m.Place])
			}
		}
	}
}

// read takes in what was written to the history since the last call.
func (r *run) read() {
	r.t.Helper()
	b, err := io.ReadAll(r.tail)
	if err != nil {
		r.t.Fatal(err)
	}
	events, torn, rest, err := Parse(append(r.rest, b...))
	if err != nil {
		r.t.Fatal(err)
	}
	r.torn += torn
	r.rest = bytes.Clone(rest)
	for i := range events {
		e := &events[i]
		place := Place{e.Stream, e.Partition}
		switch {
		case e.Kind == Begun:
			r.begun[e.Member] = true
		case e.Kind == Accepted:
			r.owners[place] = e.Member
		case e.Kind == Finished && e.Text == Settled && r.outputs == "", e.Kind == Written, e.Kind == Lettered:
			if r.settled[place] == nil {
				r.settled[place] = map[int64]bool{}
			}
			if !r.settled[place][e.Offset] {
				r.settled[place][e.Offset] = true
				r.count++
			}
		}
	}
	r.events = append(r.events, events...)
	r.settledNow.Store(int64(r.count))
}

func (r *run) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.produced)
}

// stuck returns how many messages the stuck key has.
func (r *run) stuck() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, m := range r.produced {
		if r.setup.behaviour.Stuck != "" && m.Key == r.setup.behaviour.Stuck {
			n++
		}
	}
	return n
}

// progress waits until so many of the scenario's messages are settled.
func (r *run) progress(share float64) {
	r.t.Helper()
	want := int(share * float64(r.setup.messages))
	r.until(fmt.Sprintf("%d messages are settled", want), func() bool { return r.count >= want })
}

// ownNothing tells whether others own all that a member had.
func (r *run) ownNothing(name string) bool {
	for _, o := range r.owners {
		if o == name {
			return false
		}
	}
	return true
}

// finish waits for the last message, ends the members that are left, and holds the history to the promises.
func (r *run) finish() *Report {
	r.t.Helper()
	r.until("all is settled", func() bool { return r.loaded.Load() && r.count >= r.total() })
	r.waitKept()
	names := make([]string, 0, len(r.members))
	for name := range r.members {
		names = append(names, name)
	}
	r.leave(names...)
	return r.check("")
}

// waitKept waits until the service keeps that all is settled. When everything has been settled once, what was handed out
// again after a crash may still be on its way; a member that leaves then drops it, and the history ends too early to show
// that it comes in order.
func (r *run) waitKept() {
	r.t.Helper()
	said := ""
	r.until("the service keeps that all is settled", func() bool {
		time.Sleep(50 * time.Millisecond) // real time: members commit now and then
		progress, err := r.cluster.Progress(r.t.Context(), r.stream, r.group)
		if err != nil { // a node may just be back
			if said != err.Error() {
				said = err.Error()
				r.t.Log(said)
			}
			return false
		}
		return !slices.ContainsFunc(r.produced, func(m Message) bool {
			p := progress[m.Partition]
			return p == nil || p.Frontier <= m.Offset
		})
	})
}

// history is what is known so far.
func (r *run) history() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &History{
		Produced: r.produced, Events: r.events, Torn: r.torn,
		Orderly: r.setup.orderly, MayFail: r.setup.mayFail, Workers: r.setup.behaviour.withDefaults().Workers,
		Outputs: r.outputs != "", Writers: writers,
	}
	r.cluster.Promises(h)
	return h
}

// tellBroken says which promises are broken in a run that does not come to its end, or is not there yet: members are at work.
func (r *run) tellBroken() {
	report := Check(r.history())
	report.Violations = slices.DeleteFunc(report.Violations, func(v Violation) bool { return v.Rule == RuleLost || v.Rule == RuleConserve })
	delete(report.Counts, RuleLost)
	delete(report.Counts, RuleConserve)
	r.hold(report)
}

// hold fails the test when promises are broken.
func (r *run) hold(report *Report) {
	r.t.Helper()
	if len(report.Violations) > 0 {
		r.broken = report
		r.t.Errorf("the history breaks promises:\n%v", report)
	}
}

// check holds the history so far, with all members gone, to the promises. The messages of a stuck key need not be
// settled.
func (r *run) check(stuck string) *Report {
	r.t.Helper()
	r.read()
	progress, err := r.cluster.Progress(r.t.Context(), r.stream, r.group)
	if err != nil {
		r.t.Fatal(err)
	}
	h := r.history()
	h.Stuck, h.Committed = stuck, map[Place]Progress{}
	for n := range int32(r.setup.partitions) {
		at := Place{r.stream, n}
		if p := progress[n]; p != nil {
			h.Committed[at] = fromCommit(p)
		} else {
			h.Committed[at] = Progress{}
		}
	}
	report := Check(h)
	r.t.Log(report.Figures)
	r.hold(report)
	return report
}
