package livetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// Place is a partition of a stream.
type Place struct {
	Stream    string
	Partition int32
}

// Message is a message that was produced and that a member must settle.
type Message struct {
	Place
	Offset int64
	Key    string `json:",omitzero"`
	Number int64  `json:",omitzero"` // 0, 1, 2, … within its key
}

// History is a run.
type History struct {
	Produced []Message
	Events   []Event // of all processes, in order

	// Committed is what the service keeps at the end; nil if unknown.
	Committed map[Place]commit.Progress

	// Orderly: the test disturbs neither members nor service, so no partition is lost and no turns of a key overlap.
	Orderly bool
	// Unfinished: members are at work, and not all is settled.
	Unfinished bool
	// Withholds: the service tells a new owner nothing, but does not deliver what is acknowledged.
	Withholds bool
	// Forgets lets a service that withholds forget commits that it has confirmed when a node ends: those of this time before
	// the last one, and those until the node is gone.
	Forgets map[Kind]time.Duration // by Crashing or Stopping
	// Outputs: handlers emit one output a message; the message is settled when its output is durable.
	Outputs bool
	// Letters: some messages fail for good.
	Letters bool
	// Workers is how many turns of a member run at once. So many may have finished without being settled at a kill, and
	// so many may start while a lost partition cancels its handlers.
	Workers int
	// Writers is how many Writes of a member run at once. Their messages may be durable without being settled at a kill.
	Writers int
	// Stuck is a key whose messages need not be settled.
	Stuck string
}

// Rule names a promise that a history can break.
type Rule string

// The rules of check.
const (
	RuleLost     Rule = "nothing lost"           // every message is settled in the end
	RuleForeign  Rule = "nothing made up"        // every handled message was produced, with its key
	RuleOrder    Rule = "order per key"          // a message starts only when all earlier ones of its key are settled
	RuleSerial   Rule = "serial per key"         // two turns of a key do not overlap
	RuleOwner    Rule = "one owner"              // a partition is accepted only after its earlier owner released it
	RuleFence    Rule = "no start after leave"   // no turn starts after release, or after the end of ctx
	RuleProgress Rule = "progress is settled"    // a commit claims only settled messages
	RuleBack     Rule = "progress stays"         // no commit and no restart goes back
	RuleStale    Rule = "no stale commit"        // no commit of an earlier owner is stored
	RuleReplay   Rule = "replays in bound"       // a restart delivers only what was unsettled or not committed
	RuleEpoch    Rule = "epochs grow"            // from owner to owner
	RuleFinal    Rule = "stored is settled"      // at the end the service keeps exactly what was settled
	RuleLetter   Rule = "leaving is not failing" // no dead letter, unless History.Letters
	RuleConserve Rule = "conservation"           // every turn ends, unless its process was killed
	RuleMember   Rule = "members work"           // Run returns no error
	RuleHistory  Rule = "history makes sense"    // events come in a possible order
)

// Report is the result of check.
type Report struct {
	Broken  map[Rule][]string
	Figures Figures
}

// Figures describe a run.
type Figures struct {
	Messages  int
	Turns     int // handlers begun
	Behind    int // of them: of a message that was not the first of its call
	Retries   int // of them: another attempt of the same owner
	Again     int // of them: of a message that an earlier owner had settled
	Forgotten int // of them: of a message whose commit was stored
	Stale     int // of them: by an owner that was frozen or disconnected
	Overlaps  int // of them: while a turn of such an owner ran
	Cancelled int // of them: ended with their ctx
	Commits   int // stored
	HandOvers int // partitions that got another owner
	Losses    int // partitions that were lost
}

// String lists what is wrong, one a line, at most 10 of each rule.
func (r *Report) String() string {
	var b strings.Builder
	for _, rule := range slices.Sorted(maps.Keys(r.Broken)) {
		texts := r.Broken[rule]
		for _, text := range texts[:min(10, len(texts))] {
			fmt.Fprintf(&b, "%s (%d): %s\n", rule, len(texts), text)
		}
	}
	return b.String()
}

func (r *Report) wrong(rule Rule, format string, args ...any) {
	r.Broken[rule] = append(r.Broken[rule], fmt.Sprintf(format, args...))
}
