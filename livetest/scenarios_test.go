//go:build unix

package livetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source"
)

// scenario is what happens to members and nodes while messages are handled.
type scenario struct {
	name       string
	live, soak string // the services on which it is part of the gate, or of the soak; see connect. "a>b": letters go to b
	messages   int    // default, like that of keys: as the service says
	keys       int
	partitions int // default: 8
	behaviour  behaviour
	orderly    bool // hand-overs are
	emits      bool // handlers emit, and a sink of the same service writes to another stream
	steps      steps
	shows      func(Figures) int // is not 0, or the scenario shows nothing
	ends       func(r *run)      // checks more
}

// steps happen when a share of the messages is settled.
type steps []step

type step struct {
	share float64
	do    func(r *run)
}

func at(share float64, do func(*run)) steps { return steps{}.at(share, do) }

func (s steps) at(share float64, do func(*run)) steps { return append(s, step{share, do}) }

func join(names ...string) func(*run)         { return func(r *run) { r.join(names...) } }
func leave(names ...string) func(*run)        { return func(r *run) { r.leave(names...) } }
func kill(names ...string) func(*run)         { return func(r *run) { r.kill(names...) } }
func freeze(name string) func(*run)           { return func(r *run) { r.freeze(name) } }
func restart(how Kind, node int) func(r *run) { return func(r *run) { r.restart(how, node) } }

// deploys replaces one member after the other.
func deploys(n int) steps {
	s := at(0, join("a0", "b0", "c0"))
	for i := range n {
		who, share := string(rune('a'+i%3)), float64(i+1)/float64(n+2)
		s = s.at(share, leave(fmt.Sprint(who, i/3))).at(share, join(fmt.Sprint(who, i/3+1)))
	}
	return s
}

func scenarios() []scenario {
	return []scenario{
		{ // At most three members, and at least one.
			name: "MembersJoinAndLeave", live: "kafka pulsar pulsar+batches pulsar-default",
			orderly: true,
			steps: at(0, join("a", "b")).at(0.10, join("c")).at(0.25, leave("a")).at(0.35, join("d")).at(0.50, leave("b", "c")).
				at(0.60, join("e", "f")).at(0.75, leave("d")).at(0.85, leave("e")),
		},
		{ // Handlers take all waiting messages of a key, while their partitions come and go.
			name: "MembersWithBatchesJoinAndLeave", live: "kafka pulsar",
			messages: 12_000, orderly: true, behaviour: behaviour{Batches: true},
			steps: at(0, join("a", "b")).at(0.30, join("c")).at(0.60, leave("a")),
			shows: func(f Figures) int { return f.Behind },
		},
		{ // The whole path with a sink: the output of each settled message is durable, and outputs are in order.
			name: "OutputsOfMembersThatComeAndGo", live: "kafka pulsar",
			messages: 15_000, emits: true, behaviour: behaviour{Handling: time.Millisecond, FailOne: 50},
			steps: at(0, join("a", "b")).at(0.20, kill("a")).at(0.25, join("c")).at(0.55, leave("b")).at(0.70, join("d")),
			ends:  (*run).checkOutputs,
		},
		{ // A crash costs repeats within the bound, and nothing else.
			name: "MembersAreKilled", live: "kafka pulsar pulsar+batches pulsar+store pulsar-default+batches",
			steps: at(0, join("a", "b", "c")).at(0.15, kill("a")).at(0.20, join("d")).at(0.40, kill("b", "c")).at(0.45, join("e", "f")).
				at(0.70, kill("d")).at(0.80, kill("e")).at(0.80, join("g")),
		},
		{
			// A process that is frozen longer than its session overlaps with the new owner. Pulsar's broker decides when it
			// disconnects a frozen member, and which of its last acknowledgements it keeps.
			name: "MembersAreFrozen", live: "kafka", soak: "pulsar pulsar+store",
			steps: at(0, join("a", "b", "c")).at(0.15, freeze("a")).at(0.40, freeze("b")).at(0.65, freeze("c")),
		},
		{
			name: "NodeRestarts", soak: "kafka pulsar pulsar+batches pulsar+store pulsar-default",
			steps: at(0, join("a", "b", "c")).at(0.20, restart(Stopping, 1)).at(0.60, restart(Crashing, 1)),
		},
		{
			name: "LeadersMoveAndNodesRoll", soak: "kafka3",
			steps: at(0, join("a", "b", "c")).at(0.10, restart(Stopping, 1)).at(0.20, (*run).move).at(0.35, restart(Stopping, 2)).
				at(0.50, restart(Stopping, 3)).at(0.60, (*run).move).at(0.70, restart(Crashing, 2)).at(0.80, (*run).move),
		},
		{ // A tenth of the messages fails, some three times. Only their own keys wait.
			name: "ManyRetries", live: "kafka pulsar",
			orderly: true, behaviour: behaviour{FailOne: 10},
			steps: at(0, join("a", "b", "c")).at(0.50, leave("b")).at(0.60, join("d")),
			shows: func(f Figures) int { return f.Retries },
		},
		{
			// The handler of one key hangs through hand-overs and a crash. All other messages are settled, and the commits
			// say so, ranges ahead included. Then it is mended.
			name: "StuckKey", live: "kafka pulsar pulsar+batches",
			behaviour: behaviour{Stuck: "k0", Drain: 300 * time.Millisecond},
			steps: at(0, join("a", "b", "c")).at(0.25, kill("a")).at(0.25, join("d")).at(0.50, leave("b")).at(0.60, join("e")).
				at(0.60, mendStuckKey),
		},
		{ // A handler that is cancelled has not failed. Every deploy cancels some.
			name: "TwentyDeploysWithoutADeadLetter", live: "kafka pulsar",
			messages: 30_000, orderly: true,
			behaviour: behaviour{
				DeadLetter: true, Handling: 16 * time.Millisecond, Long: 400 * time.Millisecond, LongOne: 20, Drain: 50 * time.Millisecond,
			},
			steps: deploys(20),
			shows: func(f Figures) int { return f.Cancelled },
		},
		{ // The letters of messages that fail for good go to another service.
			name: "DeadLetters", live: "pulsar>kafka kafka>pulsar",
			messages: 600, partitions: 4, keys: 17, orderly: true, behaviour: behaviour{DeadLetter: true, HopelessOne: 10},
			steps: at(0, join("a")), ends: (*run).checkLetters,
		},
		{
			name: "Secured", live: "kafka-sasl pulsar-tls",
			messages: 30_000, orderly: true,
			steps: at(0, join("a", "b", "c")).at(0.4, leave("b")).at(0.6, join("d")),
		},
		{ // Records of aborted transactions are not for readers. The position passes them and markers, at the end too.
			name: "TransactionalTopic", live: "kafka+transactions",
			messages: 40_000, orderly: true,
			steps: at(0, join("a", "b")).at(0.3, leave("a")).at(0.6, join("c")),
		},
		{
			// Members whose topic is deleted lose its partitions, on Pulsar in the midst of their work. The new log begins at its first
			// message, although it is soon longer than the position in the old one.
			name: "TopicDeletedAndMadeAgain", soak: "kafka3 pulsar+strict",
			messages: 4_000, partitions: 4,
			steps: at(0, join("a", "b")).at(0.4, func(r *run) { r.makeAgain(12_000) }),
		},
		{ // The broker closes all consumers of the topic, which come back in any order. Each owner loses its partitions.
			name: "TopicUnloaded", soak: "pulsar pulsar+batches",
			steps: at(0, join("a", "b", "c")).at(0.15, (*run).move).at(0.30, (*run).move).at(0.45, leave("b")).at(0.50, (*run).move).
				at(0.70, join("d")).at(0.75, (*run).move),
			shows: func(f Figures) int { return f.Losses },
		},
		{ // Added partitions are read from their first message. The others are not disturbed.
			name: "PartitionsAreAdded", live: "pulsar",
			messages: 10_000, partitions: 4, orderly: true,
			steps: at(0, join("a", "b")).at(0.3, addPartitions),
		},
		{ // Acknowledgements go with the subscription: all is delivered again, each key in its order.
			name: "SubscriptionDeleted", soak: "pulsar",
			messages: 6_000, partitions: 4, keys: 500,
			steps: at(0, join("a", "b")).at(0.5, deleteSubscription),
			shows: func(f Figures) int { return f.Forgotten },
		},
		{ // A terminated topic is handled to its end, although the client library (0.19) closes its connection again and again.
			name: "TopicTerminated", soak: "pulsar",
			messages: 6_000, partitions: 4, keys: 500,
			steps: at(0, join("a", "b")).at(0.3, terminate).at(0.6, leave("b")),
		},
	}
}

// gate plays the live scenarios of services in TestLive..., and the others in TestSoak...
func gate(t *testing.T, services ...string) {
	t.Helper()
	for _, service := range services {
		played := false
		for _, s := range scenarios() {
			on := s.live
			if strings.HasPrefix(t.Name(), "TestSoak") {
				on = s.soak
			}
			if slices.Contains(strings.Fields(on), service) {
				played = true
				_, flavour, _ := strings.Cut(service, "+")
				t.Run(strings.TrimSuffix(s.name+"+"+flavour, "+"), func(t *testing.T) { play(t, service, s) })
			}
		}
		if !played {
			t.Errorf("no scenario names the service %q", service)
		}
	}
}

// play is a scenario from its first message to its report.
func play(t *testing.T, service string, s scenario) {
	t.Helper()
	r := newRun(t, service, s)
	r.begin()
	for _, step := range r.steps {
		r.progress(step.share)
		step.do(r)
	}
	r.allSettled()
	r.committed()
	r.leave(slices.Collect(maps.Keys(r.members))...)
	if f := r.check(); r.shows != nil && r.shows(f) == 0 {
		t.Errorf("nothing happened that this scenario is about: %+v", f)
	}
	if r.ends != nil {
		r.ends(r)
	}
}

// mendStuckKey checks, when the messages of all other keys are settled, what is kept, and starts a member that handles the key.
func mendStuckKey(r *run) {
	r.allSettled()
	r.leave(slices.Collect(maps.Keys(r.members))...)
	r.check()
	if left, stuck := len(r.Produced)-len(r.done), int(r.source.numbers[r.behaviour.Stuck]); left != stuck {
		r.t.Errorf("%d messages are not settled, want the %d of the stuck key", left, stuck)
	}
	r.behaviour.Stuck = ""
	r.join("f")
}

// makeAgain deletes the stream and makes it again with new messages.
func (r *run) makeAgain(messages int) {
	r.t.Helper()
	r.produce(r.toCome)
	if !r.Withholds { // the position in the old log is at its end
		r.committed()
	}
	r.must(r.cluster.remove(r.t.Context(), r.stream, r.partitions))
	r.until("all partitions are lost or released", func() bool { return len(r.owners) == 0 })
	r.verdict(true)
	old := len(r.Events)
	r.must(r.cluster.create(r.t.Context(), r.stream, r.partitions))
	r.Produced, r.messages, r.toCome, r.source = nil, messages, messages, newKeys(r, r.seed+1)
	clear(r.done)
	r.produce(messages)
	r.allSettled()

	// The history of the new log is that of the owners that began after the old one.
	accepted := map[source.ID]bool{}
	r.Events = slices.DeleteFunc(r.Events[old:], func(e Event) bool {
		accepted[e.id()] = accepted[e.id()] || e.Kind == Accepted
		return e.Stream != "" && !accepted[e.id()]
	})
}
