//go:build unix

package livetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
}

// process is a member that was started.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone
	err    error         // valid then
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

func (r *run) close() {
	for _, m := range r.members {
		_ = m.cmd.Process.Kill() // a paused one, too
		<-m.exited
	}
	if r.t.Failed() {
		r.tellLogs()
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

// join starts a member.
func (r *run) join(name string) { r.joinAs(name, r.setup.behaviour) }

func (r *run) joinAs(name string, b behaviour) {
	r.t.Helper()
	b.Seed = r.seed
	source, args := r.cluster.Source(r.stream, r.group)
	raw, err := json.Marshal(args)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := json.Marshal(memberSpec{Name: name, History: filepath.Join(r.dir, "history"), Source: source, Args: raw, Behaviour: b})
	if err != nil {
		r.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.dir, name+".log")
	log, err := os.Create(path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the member has its own
	r.logs = append(r.logs, path)
	m := &process{name: name, cmd: exec.Command(self), exited: make(chan struct{})}
	m.cmd.Env = append(os.Environ(), memberVariable+"="+string(text))
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.members[name] = m
	go func() {
		m.err = m.cmd.Wait()
		close(m.exited)
	}()
}

// leave ends members in order, all at once, and waits until they are gone.
func (r *run) leave(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.until(name+" has begun", func() bool { return r.begun[name] }) // before, it does not know what SIGTERM means
		if err := r.members[name].cmd.Process.Signal(syscall.SIGTERM); err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range names {
		m := r.members[name]
		r.wait(m.exited, name+" does not end")
		if m.err != nil && !r.setup.mayFail {
			r.t.Errorf("%s: %v", name, m.err)
		}
		delete(r.members, name)
	}
}

// kill ends a member at once.
func (r *run) kill(name string) {
	r.t.Helper()
	m := r.members[name]
	if err := m.cmd.Process.Kill(); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
	r.wait(m.exited, name+" cannot be killed")
	r.record.Write(Event{Kind: Killed, Member: name})
	delete(r.members, name)
}

// pause freezes a member; goOn thaws it.
func (r *run) pause(name string) {
	r.t.Helper()
	r.record.Write(Event{Kind: Paused, Member: name})
	if err := r.members[name].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		r.t.Errorf("%s: %v", name, err)
	}
}

func (r *run) goOn(name string) {
	r.t.Helper()
	r.record.Write(Event{Kind: Continued, Member: name})
	if err := r.members[name].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		r.t.Errorf("%s: %v", name, err)
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
		case e.Kind == Finished && e.Text == Settled || e.Kind == Lettered:
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

// begin fills the stream, or begins to. What it returns ends that.
func (r *run) begin() (stop func()) {
	r.t.Helper()
	if r.setup.fill != nil {
		ms, err := r.setup.fill(r)
		if err != nil {
			r.t.Fatal(err)
		}
		r.produced, r.setup.messages = ms, len(ms)
		r.loaded.Store(true)
		return func() {}
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Minute) // real time: hang guard
	loaded := make(chan error, 1)
	go func() { loaded <- r.load(ctx) }()
	return func() {
		cancel()
		if err := <-loaded; err != nil && !r.t.Failed() {
			r.t.Error(err)
		}
	}
}

// load produces the scenario's messages: half at once, the rest as the members come along, so that they meet a backlog
// and the end of the log.
func (r *run) load(ctx context.Context) error {
	keys := newKeys(r.seed, r.setup)
	for made := 0; made < r.setup.messages; {
		n := min(r.setup.messages/20, r.setup.messages-made)
		if made == 0 {
			n = r.setup.messages / 2
		}
		ms := make([]Message, n)
		for i := range ms {
			ms[i] = keys.next(r.stream)
		}
		if err := r.cluster.Produce(ctx, ms); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		r.mu.Lock()
		r.produced = append(r.produced, ms...)
		r.mu.Unlock()
		made += n
		if err := r.behind(ctx, made); err != nil {
			return err
		}
	}
	r.loaded.Store(true)
	return nil
}

// behind waits until less than a fifth of the messages are waiting.
func (r *run) behind(ctx context.Context, made int) error {
	size := int64(r.setup.messages / 5)
	for ctx.Err() == nil {
		if settled := r.settledNow.Load(); int64(made)-settled < size {
			return nil
		}
		time.Sleep(10 * time.Millisecond) // real time: other processes settle
	}
	return ctx.Err()
}

// keys makes skewed keys; each is always in the same partition.
type keys struct {
	zipf       *rand.Zipf // the hottest has about 1 % of the messages, so that its chain is no longer than the rest
	partitions uint32
	numbers    map[string]int64
}

func newKeys(seed uint64, s scenario) *keys {
	return &keys{zipf: rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.1, 20, uint64(s.keys-1)), partitions: uint32(s.partitions), numbers: map[string]int64{}}
}

func (k *keys) next(stream string) Message {
	key := fmt.Sprintf("k%d", k.zipf.Uint64())
	h := fnv.New32a()
	_, _ = io.WriteString(h, key)
	n := k.numbers[key]
	k.numbers[key]++
	return Message{Place: Place{stream, int32(h.Sum32() % k.partitions)}, Key: key, Number: n}
}

// finish waits for the last message, ends the members that are left, and holds the history to the promises.
func (r *run) finish() *Report {
	r.t.Helper()
	r.until("all is settled", func() bool { return r.loaded.Load() && r.count >= r.total() })
	names := make([]string, 0, len(r.members))
	for name := range r.members {
		names = append(names, name)
	}
	r.leave(names...)
	return r.check("")
}

// history is what is known so far.
func (r *run) history() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &History{
		Produced: r.produced, Events: r.events, Torn: r.torn,
		Orderly: r.setup.orderly, MayFail: r.setup.mayFail, Workers: r.setup.behaviour.withDefaults().Workers,
	}
}

// tellBroken says which promises are broken in a run that does not come to its end, that of nothing lost left out.
func (r *run) tellBroken() {
	report := Check(r.history())
	report.Violations = slices.DeleteFunc(report.Violations, func(v Violation) bool { return v.Rule == RuleLost })
	delete(report.Counts, RuleLost)
	if len(report.Violations) > 0 {
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
	if len(report.Violations) > 0 {
		r.t.Errorf("the history breaks promises:\n%v", report)
	}
	return report
}
