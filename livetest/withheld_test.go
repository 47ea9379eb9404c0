package livetest

import "testing"

// withholding is a history of a service that tells nothing to a new owner and keeps back what is acknowledged.
func (s *tale) withholding(change ...func(*History)) *History {
	return s.history(append([]func(*History){func(h *History) { h.Withholds = true }}, change...)...)
}

func (s *tale) replays(name string, epoch, n int64) *tale {
	s.stored(name, epoch)
	s.events[len(s.events)-1].Number = n
	return s
}

// TestCheckerFindsEachBrokenRuleWhereSettledMessagesAreWithheld: offsets 0 and 2 are of key x, 1 and 3 of key y.
func TestCheckerFindsEachBrokenRuleWhereSettledMessagesAreWithheld(t *testing.T) {
	for _, c := range []struct {
		name string
		want []Rule
		h    *History
	}{
		{"nothing is wrong", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).withholding()},
		{"handed over in order, with ranges ahead", nil, begin().accept("a", 1, 0).handle("a", 1, 1, 3).commit("a", 1, 0, Range{1, 2}, Range{3, 4}).release("a", 1).
			accept("b", 2, 0).handle("b", 2, 0, 2).commit("b", 2, 4).release("b", 2).withholding()},
		{"killed, and the rest again", nil, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1, 2).start("a", 1, 3).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"killed with a commit under way, and it arrived", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).try("a", 1, 3).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"killed with a commit under way, and part of it arrived", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).try("a", 1, 3).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"part of a batch could not be acknowledged", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 1).try("a", 1, 2).replays("a", 1, 2).release("a", 1).
			accept("b", 2, 0).member(Killed, "b").
			accept("c", 3, 0).handle("c", 3, 0, 1, 2, 3).commit("c", 3, 4).release("c", 3).withholding(disorderly)},
		{"it comes again twice", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 1).try("a", 1, 2).replays("a", 1, 2).release("a", 1).
			accept("b", 2, 0).handle("b", 2, 0).member(Killed, "b").
			accept("c", 3, 0).handle("c", 3, 0, 1, 2, 3).commit("c", 3, 4).release("c", 3).withholding(disorderly)},
		{"the service is killed and forgets what is new", nil, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1, 2).commit("a", 1, 3).
			member(Crashing, "test").member(Gone, "test").release("a", 1).
			accept("b", 2, 0).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly, func(h *History) { h.Forgets = 5 })},
		{"it forgets what it confirms while it is being killed", nil, begin().accept("a", 1, 0).handle("a", 1, 0).member(Crashing, "test").commit("a", 1, 1).
			member(Gone, "test").member(Killed, "a").accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"it forgets what it confirms while it is being stopped", nil, begin().accept("a", 1, 0).handle("a", 1, 0).member(Stopping, "test").commit("a", 1, 1).
			member(Gone, "test").at(Lost, "a", 1, 0, "").release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"it is stopped, and forgets what it confirmed just before", nil, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).member(Stopping, "test").
			member(Gone, "test").at(Lost, "a", 1, 0, "").release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).
			withholding(disorderly, func(h *History) { h.ForgetsInOrder = 5 })},
		{"it is stopped, and forgets as if it were killed", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1).commit("a", 1, 2).member(Stopping, "test").
			member(Gone, "test").at(Lost, "a", 1, 0, "").release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).
			withholding(disorderly, func(h *History) { h.Forgets, h.ForgetsInOrder = 5, 1 })},
		{"what it confirmed while it was being killed is written late", nil, begin().accept("a", 1, 0).handle("a", 1, 0).try("a", 1, 1).member(Crashing, "test").
			member(Gone, "test").stored("a", 1).at(Lost, "a", 1, 0, "").release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).
			withholding(disorderly)},
		{"who began while it was being killed is cut off, too", nil, begin().member(Crashing, "test").accept("a", 1, 0).handle("a", 1, 0).member(Gone, "test").commit("a", 1, 1).
			at(Lost, "a", 1, 0, "").release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"who began after it keeps what was confirmed", []Rule{RuleReplay}, begin().member(Crashing, "test").member(Gone, "test").accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).
			at(Lost, "a", 1, 0, "").release("a", 1).accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"a frozen owner overlaps, and its late acknowledgements count", nil, begin().accept("a", 1, 0).start("a", 1, 0).member(Paused, "a").accept("b", 2, 0).start("b", 2, 0).
			member(Continued, "a").end("a", 1, 0, Settled).end("b", 2, 0, Settled).commit("b", 2, 1).release("b", 2).commit("a", 1, 1).release("a", 1).
			accept("b", 3, 0).handle("b", 3, 1, 2, 3).commit("b", 3, 4).release("b", 3).withholding(disorderly)},
		{"a frozen owner settles late what another has settled", nil, begin().accept("a", 1, 0).start("a", 1, 0).member(Paused, "a").accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).
			member(Continued, "a").end("a", 1, 0, Settled).commit("b", 2, 4).release("b", 2).at(Lost, "a", 1, 0, "").release("a", 1).withholding(disorderly)},
		{"a frozen member hears late that it owned", nil, begin().accept("b", 1, 0).release("b", 1).member(Paused, "a").accept("b", 3, 0).member(Continued, "a").accept("a", 2, 0).start("a", 2, 0).
			at(Lost, "a", 2, 0, "").end("a", 2, 0, Cancelled).release("a", 2).handle("b", 3, 0, 1, 2, 3).commit("b", 3, 4).release("b", 3).withholding(disorderly)},
		{"a member that was not frozen owns with an old epoch", []Rule{RuleEpoch}, begin().accept("b", 3, 0).handle("b", 3, 0, 1, 2, 3).commit("b", 3, 4).release("b", 3).
			accept("a", 2, 0).release("a", 2).withholding(disorderly)},
		{"a frozen member stores late", []Rule{RuleStale}, begin().accept("b", 1, 0).release("b", 1).member(Paused, "a").accept("b", 3, 0).member(Continued, "a").accept("a", 2, 0).
			handle("b", 3, 0, 1, 2, 3).commit("b", 3, 4).release("b", 3).release("a", 2).commit("a", 2, 0).withholding(disorderly)},
		{"a stuck key", nil, begin().accept("a", 1, 0).handle("a", 1, 1, 3).start("a", 1, 0).end("a", 1, 0, Cancelled).commit("a", 1, 0, Range{1, 2}, Range{3, 4}).
			release("a", 1).withholding(func(h *History) {
			h.Stuck, h.Committed = "x", map[Place]Progress{{Stream: "t"}: {0, []Range{{1, 2}, {3, 4}}}}
		})},

		{"a message is never settled", []Rule{RuleLost, RuleProgress, RuleFinal}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 4).release("a", 1).withholding()},
		{"a message is settled only by an owner whose epoch is old", []Rule{RuleLost}, begin().accept("a", 1, 0).start("a", 1, 0).member(Paused, "a").accept("b", 2, 0).member(Continued, "a").
			release("b", 2).end("a", 1, 0, Settled).commit("a", 1, 1).release("a", 1).accept("b", 3, 0).handle("b", 3, 1, 2, 3).commit("b", 3, 4).release("b", 3).withholding(disorderly)},
		{"a later message starts first", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 2, 0, 1, 3).commit("a", 1, 4).release("a", 1).withholding()},
		{"a settled message again in one ownership", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 0, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).withholding()},
		{"a later message starts, and only a cut-off owner settled the one before meanwhile", []Rule{RuleLost, RuleOrder, RuleProgress}, begin().accept("a", 1, 0).start("a", 1, 0).member(Paused, "a").
			accept("b", 2, 0).member(Continued, "a").end("a", 1, 0, Settled).handle("b", 2, 2, 1, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"an unsettled message is not handed out", []Rule{RuleOrder, RuleProgress}, begin().accept("a", 1, 0).start("a", 1, 0).end("a", 1, 0, Failed).handle("a", 1, 1).commit("a", 1, 0, Range{1, 2}).release("a", 1).
			accept("b", 2, 0).handle("b", 2, 2, 3).commit("b", 2, 4).release("b", 2).withholding(stuckX)},
		{"an earlier message comes again behind a later one", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).try("a", 1, 0, Range{1, 4}).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 0).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"the hazard of batches: acknowledgements below are lost, one above is not", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).try("a", 1, 3).replays("a", 1, 2).handle("a", 1, 3).
			member(Killed, "a").accept("b", 2, 0).handle("b", 2, 0, 1, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"an acknowledged message comes again", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 3).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"an acknowledged message comes again in place of one that was not", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0, 1).commit("a", 1, 0, Range{1, 2}).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"more of a batch comes again than was said", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).try("a", 1, 3).replays("a", 1, 2).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"the service forgets what is old", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1, 2).commit("a", 1, 3).
			member(Crashing, "test").member(Gone, "test").release("a", 1).
			accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly, func(h *History) { h.Forgets = 5 })},
		{"given back without the last commit", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).handle("a", 1, 1, 2).release("a", 1).
			accept("b", 2, 0).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding()},
		{"progress claims what this owner has begun again", []Rule{RuleProgress}, begin().accept("a", 1, 0).handle("a", 1, 0).member(Killed, "a").accept("b", 2, 0).start("b", 2, 0).
			commit("b", 2, 1).end("b", 2, 0, Settled).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding(disorderly)},
		{"something is restored that nobody has settled", []Rule{RuleProgress}, begin().accept("a", 1, 1).handle("a", 1, 1, 3).commit("a", 1, 2).release("a", 1).withholding(func(h *History) {
			h.Stuck, h.Committed = "x", nil
		})},
		{"a commit goes back", []Rule{RuleBack}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).try("a", 1, 3).release("a", 1).withholding()},
		{"an owner that can know acknowledges late", []Rule{RuleStale}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).release("a", 1).accept("b", 2, 0).try("a", 1, 1).
			handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).withholding()},
		{"the last owner was cut off before it acknowledged all", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 3).handle("a", 1, 3).
			at(Lost, "a", 1, 0, "").release("a", 1).withholding(disorderly, func(h *History) { h.Committed[Place{Stream: "t"}] = Progress{Frontier: 3} })},
		{"it was cut off, and what it had acknowledged is gone", []Rule{RuleFinal}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 3).handle("a", 1, 3).
			at(Lost, "a", 1, 0, "").release("a", 1).withholding(disorderly, func(h *History) { h.Committed[Place{Stream: "t"}] = Progress{Frontier: 2} })},
		{"the service keeps less than was settled", []Rule{RuleFinal}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).
			withholding(func(h *History) { h.Committed[Place{Stream: "t"}] = Progress{Frontier: 3} })},
		{"the service keeps more than was settled", []Rule{RuleLost, RuleFinal}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).commit("a", 1, 3).release("a", 1).withholding()},
		{"two owners", []Rule{RuleOwner}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 1).accept("b", 2, 0).handle("b", 2, 1, 2, 3).commit("b", 2, 4).release("b", 2).release("a", 1).withholding()},
	} {
		t.Run(c.name, func(t *testing.T) { breaks(t, c.h, c.want) })
	}
}

// stuckX leaves the messages of x out of what must be settled.
func stuckX(h *History) {
	h.Stuck = "x"
	h.Committed = nil
}
