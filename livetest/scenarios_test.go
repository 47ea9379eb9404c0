//go:build unix

package livetest

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// scenario is what happens to members and nodes while messages are handled.
type scenario struct {
	name       string
	messages   int // default: 100,000
	partitions int // default: 8
	keys       int // default: 5,000
	behaviour  behaviour
	orderly    bool // hand-overs are; nothing is handled again, but for batches that were settled in part
	mayFail    bool // Run may return an error
	outputs    bool // handlers emit, and a sink of the same service writes to another stream
	nodes      int  // how many the service must have; 0: any number
	brokers    bool // brokers stop, or partitions move between them: part of the soak
	steps      []step
	fill       func(r *run) ([]Message, error) // fills the stream before anybody reads; nil: messages come while members work
	before     func(r *run)                    // after the last message, with the members that are left; nil: nothing
	ends       func(r *run, report *Report)    // looks at the report; nil: nothing more
}

// step is something that happens when a share of the messages is settled.
type step struct {
	at float64
	do func(r *run)
}

func (s scenario) withDefaults() scenario {
	if s.messages == 0 {
		s.messages = 100_000
	}
	if s.partitions == 0 {
		s.partitions = 8
	}
	if s.keys == 0 {
		s.keys = 5_000
	}
	return s
}

func join(names ...string) func(*run) {
	return func(r *run) {
		for _, name := range names {
			r.join(name)
		}
	}
}
func leave(names ...string) func(*run) { return func(r *run) { r.leave(names...) } }
func kill(name string) func(*run)      { return func(r *run) { r.kill(name) } }

// killAtWork kills a member when each has its partitions and this one has handled messages: one that is killed between
// two ownerships leaves nothing behind.
func killAtWork(name string) func(*run) {
	return func(r *run) {
		r.until("all members own something", func() bool {
			for member := range r.members {
				if r.ownNothing(member) {
					return r.count >= r.setup.messages
				}
			}
			return true
		})
		from := len(r.events)
		r.until(name+" is at work", func() bool {
			handled := 0
			for _, e := range r.events[from:] {
				if e.Kind == Finished && e.Member == name {
					handled++
				}
			}
			return handled >= 100 || r.count >= r.setup.messages
		})
		r.kill(name)
	}
}

// freeze stops a member until others own all it had: as long as its session lasts.
func freeze(name string) func(*run) {
	return func(r *run) {
		r.until(name+" owns something", func() bool { return !r.ownNothing(name) })
		r.pause(name)
		r.until("others own what "+name+" had", func() bool { return r.ownNothing(name) })
		r.goOn(name)
	}
}

func restart(node int, kill bool) func(*run) {
	return func(r *run) {
		if err := r.cluster.Restart(r.t.Context(), node, kill, r.note); err != nil {
			r.t.Fatal(err)
		}
	}
}

func moveLeaders(r *run) {
	if err := r.cluster.MoveLeaders(r.t.Context(), r.stream, r.note); err != nil {
		r.t.Fatal(err)
	}
}

// deploys replaces one member after the other.
func deploys(n int) []step {
	steps := []step{{0, join("a0", "b0", "c0")}}
	for i := range n {
		who, turn := string(rune('a'+i%3)), i/3
		steps = append(steps, step{float64(i+1) / float64(n+2), func(r *run) {
			r.leave(fmt.Sprint(who, turn))
			r.join(fmt.Sprint(who, turn+1))
		}})
	}
	return steps
}

// scenarios are what every service has to stand.
var scenarios = []scenario{
	{
		// Seed 39; the design's "leave, step by step". Three at most, and always somebody.
		name:    "MembersJoinAndLeave",
		orderly: true,
		steps: []step{
			{0, join("a", "b")},
			{0.10, join("c")},
			{0.25, leave("a")},
			{0.35, join("d")},
			{0.50, leave("b", "c")},
			{0.60, join("e", "f")},
			{0.75, leave("d")},
			{0.85, leave("e")},
		},
	},
	{
		// Handlers that take what waits of a key, while their partitions come and go.
		name:      "MembersWithBatchesJoinAndLeave",
		messages:  12_000,
		orderly:   true,
		behaviour: behaviour{Batches: true},
		steps: []step{
			{0, join("a", "b")},
			{0.30, join("c")},
			{0.60, leave("a")},
		},
		ends: func(r *run, _ *Report) {
			behind := 0
			for i := range r.events {
				if r.events[i].Kind == Started && r.events[i].Text == Behind {
					behind++
				}
			}
			if behind == 0 {
				r.t.Error("no call had more than one message, so this shows nothing")
			}
			r.t.Logf("%d messages came behind another one in the same call", behind)
		},
	},
	{
		// The whole path, with a sink: what is settled is durable there, and what stands there is in order.
		name:      "OutputsOfMembersThatComeAndGo",
		messages:  20_000,
		outputs:   true,
		behaviour: behaviour{Handling: time.Millisecond, FailOne: 50},
		steps: []step{
			{0, join("a", "b")},
			{0.20, killAtWork("a")},
			{0.25, join("c")},
			{0.55, leave("b")},
			{0.70, join("d")},
		},
		ends: func(r *run, _ *Report) { r.checkOutputs() },
	},
	{
		// Seed 32: a crash costs repeats, within the bound, and nothing else.
		name: "MembersAreKilled",
		steps: []step{
			{0, join("a", "b", "c")},
			{0.15, kill("a")},
			{0.20, join("d")},
			{0.40, kill("b")},
			{0.40, kill("c")},
			{0.45, join("e", "f")},
			{0.70, kill("d")},
			{0.80, kill("e")},
			{0.80, join("g")},
		},
	},
	{
		// A process that is frozen longer than its session overlaps with the new owner; the epoch tells them apart.
		name: "MembersAreFrozen",
		steps: []step{
			{0, join("a", "b", "c")},
			{0.15, freeze("a")},
			{0.40, freeze("b")},
			{0.65, freeze("c")},
		},
	},
	{
		name:    "NodeRestarts",
		nodes:   1,
		brokers: true,
		steps: []step{
			{0, join("a", "b", "c")},
			{0.20, restart(1, false)},
			{0.60, restart(1, true)},
		},
	},
	{
		name:    "LeadersMoveAndNodesRoll",
		nodes:   3,
		brokers: true,
		steps: []step{
			{0, join("a", "b", "c")},
			{0.10, moveLeaders},
			{0.20, restart(1, false)},
			{0.35, restart(2, false)},
			{0.50, restart(3, false)},
			{0.70, moveLeaders},
			{0.80, restart(2, true)},
		},
	},
	{
		// A tenth of the messages fails, some three times; only their own keys wait.
		name:      "ManyRetries",
		orderly:   true,
		behaviour: behaviour{FailOne: 10},
		steps: []step{
			{0, join("a", "b", "c")},
			{0.50, leave("b")},
			{0.60, join("d")},
		},
	},
	{
		// The handler of one key hangs until its ctx ends, through hand-overs and a crash: everything else is settled, and
		// what is stored says so, ranges ahead included. Then it is mended.
		name:      "StuckKey",
		behaviour: behaviour{Stuck: "k0", Drain: 300 * time.Millisecond},
		steps: []step{
			{0, join("a", "b", "c")},
			{0.25, kill("a")},
			{0.25, join("d")},
			{0.50, leave("b")},
			{0.60, join("e")},
		},
		before: func(r *run) {
			stuck := r.stuck()
			r.leave("c", "d", "e")
			report := r.check(r.setup.behaviour.Stuck)
			if left := r.total() - r.count; left != stuck {
				r.t.Errorf("%d messages are not settled, want the %d of the stuck key", left, stuck)
			}
			r.t.Logf("with %d messages stuck: %d times handled again so far", stuck, report.Figures.Again)
			mended := r.setup.behaviour
			mended.Stuck = ""
			r.joinAs("f", mended)
		},
	},
	{
		// The design's I11: a handler that is cut short has not failed. Every deploy cuts some.
		name:      "TwentyDeploysWithoutADeadLetter",
		messages:  30_000,
		orderly:   true,
		behaviour: behaviour{DeadLetter: true, Handling: 16 * time.Millisecond, Long: 400 * time.Millisecond, LongOne: 20, Drain: 50 * time.Millisecond},
		steps:     deploys(20),
		ends: func(r *run, report *Report) {
			if report.Figures.Cancelled == 0 {
				r.t.Error("no handler was cut short, so this shows nothing")
			}
			r.t.Logf("%d handlers cut short, 0 dead letters", report.Figures.Cancelled)
		},
	},
}

// steady scenarios leave the brokers alone: what comes of them is decided by this module.
func steady(s scenario) bool { return !s.brokers }

// restless scenarios stop brokers or move partitions between them: a race inside a broker can decide what comes of them.
func restless(s scenario) bool { return s.brokers }

// named returns a filter for scenarios by their names.
func named(names ...string) func(scenario) bool {
	return func(s scenario) bool { return slices.Contains(names, s.name) }
}

// runScenarios plays the scenarios that want selects, as change makes them, unless they need another number of nodes.
func runScenarios(t *testing.T, c Cluster, want func(scenario) bool, change ...func(scenario) scenario) {
	t.Helper()
	played := 0
	for _, s := range scenarios {
		if !want(s) || s.nodes != 0 && s.nodes != c.Nodes() {
			continue
		}
		for _, f := range change {
			s = f(s)
		}
		played++
		t.Run(s.name, func(t *testing.T) { play(t, c, s) })
	}
	if played == 0 {
		t.Error("no scenario was selected")
	}
}

// play is a scenario from its first message to its report.
func play(t *testing.T, c Cluster, s scenario) *Report {
	t.Helper()
	r := newRun(t, c, s)
	stop := r.begin()
	defer stop()
	for _, step := range s.steps {
		r.progress(step.at)
		step.do(r)
	}
	if s.before != nil {
		r.until("all but the stuck key is settled", func() bool { return r.loaded.Load() && r.count+r.stuck() >= r.total() })
		s.before(r)
	}
	report := r.finish()
	if s.ends != nil {
		s.ends(r, report)
	}
	return report
}
