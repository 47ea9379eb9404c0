package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/examples/internal/show"
)

func TestResultIsOneObjectWithTheFieldsThatScriptsRead(t *testing.T) {
	r := result{
		Quiet: figures{P99: 9.5}, Pause: figures{P99: 8_300, Unhandled: 1_500}, Spill: figures{P99: 10},
		Spilled: 39_000, SpillLeft: 3, Counts: show.Counts{Replayed: 400, Bound: 420},
	}
	var b bytes.Buffer
	if err := r.writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	var fields map[string]float64
	if err := json.Unmarshal(b.Bytes(), &fields); err != nil {
		t.Fatalf("%v: %s", err, &b)
	}
	for name, want := range map[string]float64{
		"cold_p99_ms_without_hot": 9.5, "cold_p99_ms_pause": 8_300, "cold_p99_ms_spill": 10, "cold_unhandled_pause": 1_500,
		"cold_unhandled_spill": 0, "spilled": 39_000, "spill_left": 3, "order_violations": 0, "overlaps": 0, "lost": 0,
		"replayed": 400, "replay_bound": 420,
	} {
		if got, ok := fields[name]; !ok || got != want {
			t.Errorf("%s = %v, %t, want %v", name, got, ok, want)
		}
	}
}

func TestResultTableHasARowForEachPhase(t *testing.T) {
	r := result{Pause: figures{P99: 8_312, Unhandled: 1_531, Viral: 1_626, Lane: 449}, Spill: figures{P99: 10, Log: 18_257}}
	var b strings.Builder
	if err := r.writeText(&b); err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(b.String()) {
		name, rest, _ := strings.Cut(line, "  ")
		rows[name] = strings.Fields(rest)
	}
	if got := strings.Join(rows["without a store"], " "); got != "8312 ms 1531 1626 449 0" {
		t.Errorf("row without a store = %q", got)
	}
	if got := strings.Join(rows["with Divert"], " "); got != "10 ms 0 0 0 18257" {
		t.Errorf("row with Divert = %q", got)
	}
}
