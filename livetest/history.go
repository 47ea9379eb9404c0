package livetest

import (
	"fmt"
	"strings"
	"time"
)

// Place is a partition of a stream.
type Place struct {
	Stream    string
	Partition int32
}

// Message is one that was produced, and that a reader must get.
type Message struct {
	Place
	Offset int64
	Key    string
	Number int64 // 0, 1, 2, … within its key
}

// History is all that is known of a run.
type History struct {
	Produced []Message
	Events   []Event // of all processes, in order
	Torn     int     // lines torn by SIGKILL

	// Committed is what the service keeps at the end, nil if it was not asked.
	Committed map[Place]Progress

	// Orderly: nobody was killed or frozen and the service was there all the time, so no partition may be lost and no
	// turns of a key may overlap anywhere.
	Orderly bool
	// Withholds: the service does not tell a new owner what is settled, but keeps it back: what is acknowledged does not
	// come. Else what an owner is told when it begins is the whole of what it may leave out.
	Withholds bool
	// Forgets is how much of what a service has confirmed a kill of it can take with it: what was confirmed in so long a
	// time before the last that was. ForgetsInOrder is the same for a node that is stopped in order or gives partitions
	// away; what it confirms meanwhile is not in it, but always forgivable. Only with Withholds.
	Forgets        time.Duration
	ForgetsInOrder time.Duration
	// Outputs: handlers emit, one output a message, and a message is settled when that is durable.
	Outputs bool
	// DeadLetters may be written.
	DeadLetters bool
	// MayFail lets Run return an error.
	MayFail bool
	// Workers is how many turns of a member run at once: so many may have written that they have ended, and not have been
	// noted as settled, when the process was killed (not with Withholds); and so many may write that they have begun when a
	// partition is lost and its handlers are cancelled.
	Workers int
	// Writers is how many Writes of a member are under way at once: with Outputs, all that they have made durable may not
	// have been noted as settled when the process was killed.
	Writers int
	// Stuck is the key whose messages need not be settled.
	Stuck string
}

// Rule names a promise that a history can break.
type Rule string

// The rules of [Check].
const (
	RuleLost      Rule = "nothing lost"         // every message produced was settled in the end
	RuleForeign   Rule = "nothing made up"      // what was handled had been produced, with this key
	RuleOrder     Rule = "order per key"        // a message starts only when all earlier ones of its key are settled
	RuleSerial    Rule = "serial per key"       // two turns of a key do not overlap
	RuleOwner     Rule = "one owner"            // a partition is accepted only when its earlier owner let it go
	RuleFence     Rule = "no start after leave" // no turn starts once the partition was released or its ctx has ended
	RuleProgress  Rule = "progress is settled"  // a commit claims only what is settled
	RuleBack      Rule = "progress stays"       // no commit and no restart goes back behind what was stored
	RuleStale     Rule = "no stale commit"      // nothing is stored for an owner that is no more
	RuleReplay    Rule = "replays in bound"     // a restart hands out only what was not settled and committed
	RuleEpoch     Rule = "epochs grow"
	RuleFinal     Rule = "stored is settled" // at the end the service keeps exactly what was settled
	RuleLetter    Rule = "leaving is not failing"
	RuleConserve  Rule = "conservation" // every turn that begins ends, unless its process was killed
	RuleMember    Rule = "members work"
	ruleNoMessage Rule = "history makes sense"
)

// Violation is one broken rule.
type Violation struct {
	Rule Rule
	Text string
}

// Report is what [Check] found.
type Report struct {
	Violations []Violation // the first of each rule, at most 10
	Counts     map[Rule]int
	Figures    Figures
}

// Figures describe a run.
type Figures struct {
	Messages  int
	Turns     int           // handlers begun
	Attempts  int           // of them: another attempt of the same owner
	Again     int           // of them: of a message that an earlier owner had settled
	Bound     int           // how many could have been, by the promise
	Stale     int           // of them: by an owner that was frozen or cut off and did not know yet
	Cancelled int           // of them: ended because their ctx did
	Committed int           // commits stored
	HandOvers int           // partitions that went to another owner
	Losses    int           // of them: without being released
	Overlaps  int           // turns that overlapped with one of an owner that was frozen or cut off
	Pause     time.Duration // longest time without a start in a partition around a hand-over
	Took      time.Duration
}

// String is one line.
func (f Figures) String() string {
	return fmt.Sprintf("%d messages, %d turns (%d retries), handled again %d (bound %d), %d commits, %d hand-overs (%d lost), %d turns of owners that did not know yet (%d overlaps), longest pause %v, %v",
		f.Messages, f.Turns, f.Attempts, f.Again, f.Bound, f.Committed, f.HandOvers, f.Losses, f.Stale, f.Overlaps,
		f.Pause.Round(time.Millisecond), f.Took.Round(100*time.Millisecond))
}

// String lists what is wrong, one line each.
func (r *Report) String() string {
	var b strings.Builder
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "%s: %s\n", v.Rule, v.Text)
	}
	for rule, n := range r.Counts {
		if n > mostTold {
			fmt.Fprintf(&b, "%s: %d in all\n", rule, n)
		}
	}
	return b.String()
}

const mostTold = 10
