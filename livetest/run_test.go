//go:build unix

package livetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// run is a scenario under way.
type run struct {
	scenario
	t             *testing.T
	cluster       cluster
	seed          uint64
	stream, group string
	outputs       string  // the stream that members write to; empty: none
	target        cluster // of outputs
	dir           string
	record        *Recorder // of the test itself
	members       map[string]*process

	source   *keys // of messages
	toCome   int   // messages that are not produced yet
	produced []Message
	settled  int // messages

	tail   *os.File
	rest   []byte
	torn   int
	events []Event
	done   map[Place]map[int64]bool
	owners map[Place]string
	begun  map[string]bool // members whose pipeline runs
}

func newRun(t *testing.T, service string, s scenario) *run {
	t.Helper()
	r := &run{
		scenario: s, t: t, cluster: connect(t, service), seed: rand.Uint64(), dir: t.TempDir(), members: map[string]*process{},
		done: map[Place]map[int64]bool{}, owners: map[Place]string{}, begun: map[string]bool{},
	}
	var err error
	if text := os.Getenv("KEYSTRAND_LIVE_SEED"); text != "" {
		r.seed, err = strconv.ParseUint(text, 10, 64)
	}
	if keep := os.Getenv("KEYSTRAND_LIVE_DIR"); keep != "" {
		r.dir = filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "_"))
		err = errors.Join(err, os.RemoveAll(r.dir), os.MkdirAll(r.dir, 0o700))
	}
	r.must(err)
	t.Logf("seed %d (again with KEYSTRAND_LIVE_SEED=%d)", r.seed, r.seed)
	messages, keys := r.cluster.size(s.emits)
	r.messages = cmp.Or(min(r.messages, messages), messages)
	r.keys, r.partitions = cmp.Or(r.keys, keys), cmp.Or(r.partitions, 8)
	r.stream = newStream(t, r.cluster, r.partitions)
	r.group = r.stream[strings.LastIndex(r.stream, "/")+1:] + "-group"
	if r.target = r.cluster; s.letters != "" {
		r.target = connect(t, s.letters)
	}
	if s.emits || s.letters != "" {
		r.outputs = newStream(t, r.target, r.partitions)
	}
	path := filepath.Join(r.dir, "history")
	r.record, err = NewRecorder(path, "test")
	r.must(err)
	r.tail, err = os.Open(path)
	r.must(err)
	t.Cleanup(r.close)
	return r
}

func (r *run) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// close ends all members. After a failure it shows the end of their logs.
func (r *run) close() {
	for _, m := range r.members {
		_ = m.cmd.Process.Kill()
		<-m.exited
	}
	logs, _ := filepath.Glob(r.log("*"))
	for _, path := range logs {
		if r.t.Failed() {
			lines := slices.DeleteFunc(lines(path), func(l string) bool { return strings.Contains(l, "level=DEBUG") })
			r.t.Logf("%s:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-15):], ""))
		}
	}
	_ = errors.Join(r.record.Close(), r.tail.Close())
}

func lines(path string) []string {
	b, _ := os.ReadFile(path)
	return slices.Collect(strings.Lines(string(b)))
}

// log returns the path of a member's log.
func (r *run) log(name string) string { return filepath.Join(r.dir, name+".log") }

// logged reports whether a line of a member's log has all these words.
func (r *run) logged(name string, words ...string) bool {
	return slices.ContainsFunc(lines(r.log(name)), func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

// guard ends a wait that hangs.
const guard = 90 * time.Second

// until produces messages and reads the history until something holds. It fails when a member exits by itself, or nothing is
// settled for long.
func (r *run) until(what string, holds func() bool) {
	r.t.Helper()
	for began, before := time.Now(), r.settled; ; {
		r.read()
		if holds() {
			return
		}
		if left := len(r.produced) - r.settled; r.toCome > 0 && left < r.messages/5 {
			r.produce(min(r.toCome, r.messages/20))
		}
		for name, m := range r.members {
			select {
			case <-m.exited:
				r.checkUnfinished()
				r.t.Fatalf("%s has exited while waiting until %s: %v", name, what, m.err)
			default:
			}
		}
		if r.settled != before {
			began, before = time.Now(), r.settled
		}
		if time.Since(began) > guard { // real time: hang guard
			r.checkUnfinished()
			left := slices.DeleteFunc(r.produced, func(m Message) bool { return r.done[m.Place][m.Offset] })
			r.t.Fatalf("nothing was settled for %v while waiting until %s; not settled: %d, such as %+v; owners: %v",
				guard, what, len(left), left[:min(10, len(left))], r.owners)
		}
		time.Sleep(10 * time.Millisecond) // real time: other processes write the history
	}
}

// read takes in what was written to the history since the last call.
func (r *run) read() {
	r.t.Helper()
	b, err := io.ReadAll(r.tail)
	r.must(err)
	events, torn, rest := Parse(append(r.rest, b...))
	r.torn += torn
	r.rest = bytes.Clone(rest)
	r.events = append(r.events, events...)
	for _, e := range events {
		place := placeOf(e.ID)
		switch {
		case e.Kind == Begun:
			r.begun[e.Member] = true
		case e.Kind == Accepted:
			r.owners[place] = e.Member
		case e.Kind == Finished && e.Text == Settled && !r.emits, e.Kind == Written, e.Kind == Lettered:
			if r.done[place] == nil {
				r.done[place] = map[int64]bool{}
			}
			if !r.done[place][e.Offset] {
				r.done[place][e.Offset] = true
				r.settled++
			}
		}
	}
}

// allSettled waits until all messages are settled, but for those of a stuck key.
func (r *run) allSettled(stuck string) {
	r.t.Helper()
	r.until("all is settled", func() bool {
		return r.toCome == 0 && len(r.produced)-r.settled <= int(r.source.numbers[stuck])
	})
}

// progress waits until a share of the messages is settled.
func (r *run) progress(share float64) {
	r.t.Helper()
	want := int(share * float64(r.messages))
	r.until(fmt.Sprintf("%d messages are settled", want), func() bool { return r.settled >= want })
}

// idle reports whether a member owns nothing.
func (r *run) idle(name string) bool {
	return !slices.Contains(slices.Collect(maps.Values(r.owners)), name)
}

// finish waits for the last message, ends the members, and checks the history.
func (r *run) finish() *Report {
	r.t.Helper()
	r.allSettled("")
	ends := map[int32]int64{}
	for _, m := range r.produced {
		ends[m.Partition] = max(ends[m.Partition], m.Offset+1)
	}
	r.committed(ends)
	r.leave(slices.Collect(maps.Keys(r.members))...)
	return r.check("")
}

// committed waits until the service keeps progress to these ends. A member that leaves earlier drops what a crash has it
// handle again, and the history would not show in which order.
func (r *run) committed(ends map[int32]int64) {
	r.t.Helper()
	var last error
	r.until("the service keeps that all is settled", func() bool {
		time.Sleep(50 * time.Millisecond) // real time: members commit now and then
		progress, err := r.cluster.progress(r.t.Context(), r.stream, r.group)
		if err != nil && fmt.Sprint(err) != fmt.Sprint(last) { // a node may just be back
			r.t.Log(err)
			last = err
		}
		for n, end := range ends {
			if p := progress[n]; p == nil || p.Frontier < end {
				return false
			}
		}
		return err == nil
	})
}

// history is what is known so far.
func (r *run) history() *History {
	h := &History{
		Produced: r.produced, Events: r.events, Torn: r.torn, Orderly: r.orderly,
		Outputs: r.emits, Letters: r.letters != "", Workers: workers, Writers: writers,
	}
	if r.cluster.promises(h); r.forgets != nil {
		h.Forgets = r.forgets
	}
	return h
}

// checkUnfinished checks the history while members work.
func (r *run) checkUnfinished() {
	r.t.Helper()
	h := r.history()
	h.Unfinished = true
	r.verdict(h)
}

func (r *run) verdict(h *History) *Report {
	r.t.Helper()
	report := Check(h)
	if len(report.Violations) > 0 {
		r.t.Errorf("the history breaks promises:\n%v", report)
	}
	return report
}

// check checks the history after the last member has exited. The messages of a stuck key need not be settled.
func (r *run) check(stuck string) *Report {
	r.t.Helper()
	r.read()
	progress, err := r.cluster.progress(context.WithoutCancel(r.t.Context()), r.stream, r.group)
	r.must(err)
	h := r.history()
	h.Stuck, h.Committed = stuck, map[Place]commit.Progress{}
	for n := range int32(r.partitions) {
		var p commit.Progress
		if progress[n] != nil {
			p = *progress[n]
		}
		h.Committed[Place{r.stream, n}] = p
	}
	report := r.verdict(h)
	r.t.Logf("%+v", report.Figures)
	for _, a := range h.Forgets {
		r.t.Logf("forgotten: %d (allowed: %s, the last %v: %s)", report.Forgotten[a.Reason], a.When, a.Newest, a.Reason)
	}
	return report
}
