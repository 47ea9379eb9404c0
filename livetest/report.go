package livetest

import (
	"fmt"
	"strings"
)

// Rule names a promise that a history can break.
type Rule string

// The rules of [Check].
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

// Violation is one broken rule.
type Violation struct {
	Rule Rule
	Text string
}

// Report is the result of [Check].
type Report struct {
	Violations []Violation // at most 10 of each rule
	Counts     map[Rule]int
	Figures    Figures
	Forgotten  map[string]int // messages that the service delivered again although their commit was stored, by Allowance.Reason
}

// Figures describe a run.
type Figures struct {
	Messages  int
	Turns     int // handlers begun
	Retries   int // of them: another attempt of the same owner
	Again     int // of them: of a message that an earlier owner had settled
	Stale     int // of them: by an owner that was frozen or disconnected
	Overlaps  int // of them: while a turn of such an owner ran
	Cancelled int // of them: ended with their ctx
	Commits   int // stored
	HandOvers int // partitions that got another owner
	Losses    int // partitions that were lost
}

// String lists the violations, one a line.
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

func (r *Report) wrong(rule Rule, format string, args ...any) {
	if r.Counts[rule]++; r.Counts[rule] <= mostTold {
		r.Violations = append(r.Violations, Violation{rule, fmt.Sprintf(format, args...)})
	}
}
