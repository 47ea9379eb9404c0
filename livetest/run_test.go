//go:build unix

package livetest

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
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
	History       // what is known so far
	t             *testing.T
	cluster       cluster
	seed          uint64
	stream, group string
	outputs       string    // the stream that members write to; empty: none
	target        cluster   // of outputs
	depot         depot     // of diverted keys
	record        *recorder // of the test itself
	members       map[string]*process

	source *keys         // of messages
	toCome int           // messages that are not produced yet
	tail   *bufio.Reader // of the history
	rest   []byte
	done   map[Message]bool // place and offset of those that are settled
	owners map[Place]string
	stored map[Message]bool // place and offset of those that are in the store and not settled
	judge  func(*History) *Report
}

func newRun(t *testing.T, name string, s scenario) *run {
	t.Helper()
	name, letters, _ := strings.Cut(name, ">")
	c := connect(t, name)
	service := c.about()
	r := &run{
		scenario: s, t: t, cluster: c, target: c, judge: check,
		members: map[string]*process{}, done: map[Message]bool{}, owners: map[Place]string{}, stored: map[Message]bool{},
		History: History{
			Orderly: s.orderly, Outputs: s.emits, Letters: letters != "", Workers: workers, Writers: writers,
			Withholds: service.withholds, Forgets: service.forgets, Diverts: s.store != "",
		},
	}
	r.open()
	b := &r.behaviour
	b.Handling, b.Drain = cmp.Or(b.Handling, 3*time.Millisecond), cmp.Or(b.Drain, 10*time.Second)
	r.messages = cmp.Or(min(r.messages, service.messages), service.messages)
	r.keys, r.partitions = cmp.Or(r.keys, service.keys), cmp.Or(r.partitions, 8)
	r.stream = newStream(t, r.cluster, r.partitions)
	r.group = r.stream[strings.LastIndex(r.stream, "/")+1:] + "-group"
	if s.store != "" {
		r.depot = newDepot(t, s.store, r.group)
	}
	if letters != "" {
		r.target = connect(t, letters)
	}
	if s.emits || letters != "" {
		r.outputs = newStream(t, r.target, r.partitions)
	}
	return r
}

// open chooses a seed and begins the history.
func (r *run) open() {
	r.t.Helper()
	var err error
	r.seed, err = strconv.ParseUint(cmp.Or(os.Getenv("KEYSTRAND_LIVE_SEED"), fmt.Sprint(rand.Uint64())), 10, 64)
	r.must(err)
	r.t.Logf("seed %d (again with KEYSTRAND_LIVE_SEED=%d)", r.seed, r.seed)
	r.behaviour.Seed = r.seed
	r.record, err = newRecorder(filepath.Join(r.t.ArtifactDir(), "history"), "test")
	r.must(err)
	file, err := os.Open(r.record.Name())
	r.must(err)
	r.tail = bufio.NewReader(file)
	r.t.Cleanup(func() { r.close(); _ = file.Close() })
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
			text, _ := os.ReadFile(path)
			lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(l string) bool { return strings.Contains(l, "level=DEBUG") })
			r.t.Logf("%s:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-15):], ""))
		}
	}
	_ = r.record.Close()
}

// log returns the path of a member's log.
func (r *run) log(name string) string { return filepath.Join(r.t.ArtifactDir(), name+".log") }

// guard ends a wait that hangs.
const guard = 90 * time.Second

// until produces messages and reads the history until something holds. It fails when a member exits by itself, or nothing is
// settled for long.
func (r *run) until(what string, holds func() bool) {
	r.t.Helper()
	for began, before := time.Now(), len(r.done); ; {
		r.read()
		if holds() {
			return
		}
		if left := len(r.Produced) - len(r.done); r.toCome > 0 && left < r.messages/5 {
			r.produce(min(r.toCome, r.messages/20))
		}
		for name, m := range r.members {
			select {
			case <-m.exited:
				r.verdict(true)
				r.t.Fatalf("%s has exited while waiting until %s: %v", name, what, m.err)
			default:
			}
		}
		if len(r.done) != before {
			began, before = time.Now(), len(r.done)
		}
		if time.Since(began) > guard { // real time: hang guard
			r.verdict(true)
			left := slices.DeleteFunc(r.Produced, func(m Message) bool { return r.done[Message{Place: m.Place, Offset: m.Offset}] })
			r.t.Fatalf("nothing was settled for %v while waiting until %s; not settled: %d, such as %+v; owners: %v",
				guard, what, len(left), left[:min(10, len(left))], r.owners)
		}
		time.Sleep(10 * time.Millisecond) // real time: other processes write the history
	}
}

// read takes in what was written to the history since the last call.
func (r *run) read() {
	r.t.Helper()
	for {
		part, err := r.tail.ReadBytes('\n')
		if r.rest = append(r.rest, part...); errors.Is(err, io.EOF) {
			return
		}
		r.must(err)
		if len(r.rest) > 1 {
			r.event(parse(r.rest))
		}
		r.rest = nil
	}
}

func (r *run) event(e Event) {
	r.Events = append(r.Events, e)
	of := Message{Place: e.Place, Offset: e.Offset}
	switch {
	case e.Kind == Begun && r.members[e.Member] != nil: // not killed meanwhile
		r.members[e.Member].begun = true
	case e.Kind == Accepted && !r.Diverts, e.Kind == Opened: // with a store, an owner begins when it is open
		r.owners[e.Place] = e.Member
	case (e.Kind == Lost || e.Kind == Released) && r.owners[e.Place] == e.Member:
		delete(r.owners, e.Place)
	case e.Kind == Finished && e.Text == Settled && !r.emits, e.Kind == Written, e.Kind == Lettered:
		r.done[of] = true
		delete(r.stored, of)
	case e.Kind == Kept && !r.done[of]:
		r.stored[of] = true
	}
}

// allSettled waits until all messages are settled, but for those of a stuck key.
func (r *run) allSettled() {
	r.t.Helper()
	r.until("all is settled", func() bool {
		return r.toCome == 0 && len(r.Produced)-len(r.done) <= int(r.source.numbers[r.behaviour.Stuck])
	})
}

// progress waits until a share of the messages is settled.
func (r *run) progress(share float64) {
	r.t.Helper()
	want := int(share * float64(r.messages))
	r.until(fmt.Sprintf("%d messages are settled", want), func() bool { return len(r.done) >= want })
}

// drains makes a backlog, and waits until the store has some messages that a member is to handle.
func (r *run) drains(name string) {
	r.t.Helper()
	r.produce(min(r.toCome, r.messages/4))
	r.until(name+" has diverted keys", func() bool {
		n := 0
		for m := range r.stored {
			if r.owners[m.Place] == name {
				n++
			}
		}
		return n >= 50
	})
}

// idle reports whether a member owns nothing.
func (r *run) idle(name string) bool {
	return !slices.Contains(slices.Collect(maps.Values(r.owners)), name)
}

// committed waits until the service keeps progress to the end of the log, whatever is there. A member that leaves earlier drops
// what a crash has it handle again, and the history would not show in which order.
func (r *run) committed() {
	r.t.Helper()
	ends := map[Place]int64{}
	for _, m := range r.Produced {
		ends[m.Place] = max(ends[m.Place], m.Offset+1)
	}
	if k, is := r.cluster.(*kafkaCluster); is {
		offsets, err := k.admin.ListEndOffsets(r.t.Context(), r.stream)
		r.must(err)
		for n, end := range offsets[r.stream] { // markers included
			p := Place{r.stream, n}
			ends[p] = max(ends[p], end.Offset)
		}
	}
	var last error
	r.until("the service keeps that all is settled", func() bool {
		time.Sleep(50 * time.Millisecond) // real time: members commit now and then
		progress, err := r.cluster.progress(r.t.Context(), r.stream, r.group)
		if err != nil && fmt.Sprint(err) != fmt.Sprint(last) { // a node may just be back
			r.t.Log(err)
			last = err
		}
		for p, end := range ends {
			if progress[p].Frontier < end {
				return false
			}
		}
		return err == nil
	})
}

// verdict checks the history. Unfinished: members are at work.
func (r *run) verdict(unfinished bool) *Report {
	r.t.Helper()
	r.Unfinished = unfinished
	report := r.judge(&r.History)
	if len(report.Broken) > 0 {
		r.t.Errorf("the history breaks promises:\n%v", report)
	}
	return report
}

// check checks the history after the last member has exited. The messages of a stuck key need not be settled.
func (r *run) check() Figures {
	r.t.Helper()
	r.read()
	var err error
	r.Stuck = r.behaviour.Stuck
	r.Committed, err = r.cluster.progress(context.WithoutCancel(r.t.Context()), r.stream, r.group)
	r.must(err)
	report := r.verdict(false)
	if r.Diverts {
		r.checkDepot()
	}
	r.t.Logf("%+v; when a node ends, the service may forget commits of %v", report.Figures, r.Forgets)
	return report.Figures
}

// checkDepot checks that the store has the messages that are not settled, and no others.
func (r *run) checkDepot() {
	r.t.Helper()
	last := map[Place]commit.Progress{}
	for _, e := range r.Events {
		if e.Kind == Accepted && e.Epoch >= last[e.Place].Epoch {
			last[e.Place] = commit.Progress{Epoch: e.Epoch, Log: e.Progress.Log}
		}
	}
	got, err := r.depot.unhandled(context.WithoutCancel(r.t.Context()), last)
	r.must(err)
	want := map[Message]bool{}
	for _, m := range r.Produced {
		if of := (Message{Place: m.Place, Offset: m.Offset}); !r.done[of] {
			want[of] = true
		}
	}
	if !maps.Equal(got, want) {
		r.t.Errorf("the store has %d messages, want the %d that are not settled:\n%v\nwant\n%v", len(got), len(want), got, want)
	}
}

// begin produces half of the messages. The rest comes while members work, so that they meet a backlog and the end of the log.
func (r *run) begin() {
	r.t.Helper()
	r.source = newKeys(r, r.seed)
	r.toCome = r.messages
	r.produce(r.messages / 2)
}

// produce appends messages to the stream and to those that must be settled.
func (r *run) produce(n int) {
	r.t.Helper()
	ms := r.source.next(n)
	r.must(r.cluster.produce(r.t.Context(), ms))
	r.Produced = append(r.Produced, ms...)
	r.toCome -= n
}

// valueOf makes the value of a message, of about 100 bytes.
func valueOf(m *Message) []byte { return fmt.Appendf(nil, "%-90d", m.Number) }

// keys makes messages with skewed keys. Each key is always in the same partition.
type keys struct {
	prefix, stream string
	zipf           *rand.Zipf // the hottest key has about 1 % of the messages, so that its chain is no longer than the rest
	partitions     uint32
	numbers        map[string]int64
}

func newKeys(r *run, seed uint64) *keys {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.1, 20, uint64(r.keys-1))
	return &keys{"k", r.stream, zipf, uint32(r.partitions), map[string]int64{}}
}

func (k *keys) next(n int) []Message {
	ms := make([]Message, n)
	for i := range ms {
		key := fmt.Sprint(k.prefix, k.zipf.Uint64())
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		ms[i] = Message{Place: Place{k.stream, int32(h.Sum32() % k.partitions)}, Key: key, Number: k.numbers[key]}
		k.numbers[key]++
	}
	return ms
}
