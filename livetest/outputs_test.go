package livetest

import (
	"fmt"
	"testing"
)

func TestCheckerFindsEachBrokenRuleWithOutputs(t *testing.T) {
	outputs := func(h *History) { h.Outputs, h.Orderly = true, false }
	for _, c := range []struct {
		name string
		want []Rule
		h    *History
	}{
		{"nothing is wrong", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 1).write("a", 1, 0, 1).handle("a", 1, 2, 3).write("a", 1, 3, 2).
			commit("a", 1, 4).release("a", 1).history(outputs)},
		{"the key goes on before the output is durable", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 2, 1, 3).write("a", 1, 0, 2, 1, 3).
			commit("a", 1, 4).release("a", 1).history(outputs)},
		{"killed before the outputs are durable", nil, begin().accept("a", 1, 0).handle("a", 1, 0, 2, 1).write("a", 1, 0).member(Killed, "a").
			accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).write("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).
			history(outputs, func(h *History) { h.Writers = 1 })},

		{"an output is never durable", []Rule{RuleLost}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).write("a", 1, 0, 1, 2).commit("a", 1, 3).release("a", 1).
			history(outputs, func(h *History) { h.Committed[Place{Stream: "t"}] = Progress{Frontier: 3} })},
		{"progress claims what is handled and not durable", []Rule{RuleProgress}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).write("a", 1, 0, 1, 2).commit("a", 1, 4).
			write("a", 1, 3).release("a", 1).history(outputs)},
		{"outputs of a key out of order", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).write("a", 1, 2, 0, 1, 3).commit("a", 1, 4).release("a", 1).history(outputs)},
		{"an output twice", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2, 3).write("a", 1, 0, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).history(outputs)},
		{"handled again before its output is durable", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 0, 0, 1, 2, 3).write("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).history(outputs)},
		{"a key starts behind a message that is not handled", []Rule{RuleOrder}, begin().accept("a", 1, 0).handle("a", 1, 2, 0, 1, 3).write("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).history(outputs)},
		{"the output of an attempt that failed", []Rule{RuleConserve}, begin().accept("a", 1, 0).start("a", 1, 0).end("a", 1, 0, Failed).write("a", 1, 0).
			handle("a", 1, 0, 1, 2, 3).write("a", 1, 0, 1, 2, 3).commit("a", 1, 4).release("a", 1).history(outputs)},
		{"an output after the release", []Rule{RuleFence, RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0).commit("a", 1, 0).release("a", 1).write("a", 1, 0).
			accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).write("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).history(outputs, func(h *History) { h.Writers = 1 })},
		{"a crash costs more than one commit interval", []Rule{RuleReplay}, begin().accept("a", 1, 0).handle("a", 1, 0, 1, 2).write("a", 1, 0, 1, 2).commit("a", 1, 0, Range{0, 3}).
			member(Killed, "a").accept("b", 2, 0).handle("b", 2, 0, 1, 2, 3).write("b", 2, 0, 1, 2, 3).commit("b", 2, 4).release("b", 2).
			history(outputs, func(h *History) { h.Writers = 1 })},
	} {
		t.Run(c.name, func(t *testing.T) { breaks(t, c.h, c.want) })
	}
}

func TestCheckOutputsFindsWhatIsMissingOrOutOfOrder(t *testing.T) {
	for _, c := range []struct {
		numbers []int64
		right   bool
	}{
		{[]int64{0, 1, 2, 3}, true},
		{[]int64{0, 1, 2, 1, 2, 3}, true},
		{[]int64{0, 1, 2, 3, 2, 3}, true},
		{[]int64{0, 0, 1, 1, 0, 1, 2, 3}, true},
		{nil, false},
		{[]int64{0, 1, 2}, false},
		{[]int64{1, 2, 3}, false},
		{[]int64{0, 2, 3}, false},
		{[]int64{0, 2, 1, 2, 3}, false},
		{[]int64{0, 1, 2, 3, 1, 3}, false}, // the replay leaves one out
		{[]int64{0, 1, 2, 3, 1, 2}, false}, // the replay ends too early
		{[]int64{0, 1, 2, 3, 4}, false},
		{[]int64{0, 1, -1, 0, 1, 2, 3}, false}, // not a number
	} {
		t.Run(fmt.Sprint(c.numbers), func(t *testing.T) {
			if err := CheckOutputs(c.numbers, 4); (err == nil) != c.right {
				t.Errorf("error is %v, right: %v", err, c.right)
			}
		})
	}
}
