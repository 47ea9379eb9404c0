package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/keystrand/keystrand/examples/internal/show"
)

// figures are what one phase measures.
type figures struct {
	P99       float64 // of the other posts, in milliseconds from when a comment was due
	Unhandled int     // comments of the other posts
	Viral     int     // comments of the viral post that were handled
	Lane      int     // that waited in its lane
	Log       int64   // that waited in its log
}

// result is the result of the demo.
type result struct {
	Quiet, Pause, Spill, Batch figures

	Spilled   int64 // comments that went to the log
	SpillLeft int   // that were there at the end
	Seconds   float64
	show.Counts

	rates                  rates
	pauseCurve, spillCurve []sample
	// Times of the phase that spills: the kill -9, when the next process got the partitions, the start of the last process.
	kill, freed, release time.Duration
}

// add adds the counts of a phase. Only one of them kills a process.
func (r *result) add(c show.Counts) {
	r.Violations += c.Violations
	r.Overlaps += c.Overlaps
	r.Lost += c.Lost
	r.Replayed += c.Replayed
	r.Committed += c.Committed
	r.Bound += c.Bound
	r.Outage += c.Outage
}

func (r result) writeJSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		QuietP99       float64 `json:"cold_p99_ms_without_hot"`
		PauseP99       float64 `json:"cold_p99_ms_pause"`
		SpillP99       float64 `json:"cold_p99_ms_spill"`
		BatchP99       float64 `json:"cold_p99_ms_batch"`
		QuietUnhandled int     `json:"cold_unhandled_without_hot"`
		PauseUnhandled int     `json:"cold_unhandled_pause"`
		SpillUnhandled int     `json:"cold_unhandled_spill"`
		BatchUnhandled int     `json:"cold_unhandled_batch"`
		PauseViral     int     `json:"hot_handled_pause"`
		SpillViral     int     `json:"hot_handled_spill"`
		BatchViral     int     `json:"hot_handled_batch"`
		Spilled        int64   `json:"spilled"`
		SpillLeft      int     `json:"spill_left"`
		show.Counts
		Seconds float64 `json:"seconds"`
	}{
		r.Quiet.P99, r.Pause.P99, r.Spill.P99, r.Batch.P99,
		r.Quiet.Unhandled, r.Pause.Unhandled, r.Spill.Unhandled, r.Batch.Unhandled,
		r.Pause.Viral, r.Spill.Viral, r.Batch.Viral,
		r.Spilled, r.SpillLeft, r.Counts, r.Seconds,
	})
}

func (r result) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "\n%-24s%20s%16s%20s%10s%10s\n", "", "other posts: p99", "not handled", "viral post: handled", "in lane", "in log")
	if err != nil {
		return err
	}
	for _, row := range []struct {
		name string
		figures
	}{
		{"without the viral post", r.Quiet},
		{"without a store", r.Pause},
		{"with Divert", r.Spill},
		{"with HandleBatch", r.Batch},
	} {
		if _, err := fmt.Fprintf(w, "%-24s%17.0f ms%16d%20d%10d%10d\n", row.name, row.P99, row.Unhandled, row.Viral, row.Lane, row.Log); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, `The other posts have %d comments a second. Measured are those due during %v; not handled are those left after %v.

went to the log                   %8d, and %d are left in it
out of order                      %8d
two of one post at the same time  %8d
lost                              %8d
handled again after kill -9       %8d of at most %d
outage after kill -9              %8.1f s until the next comment was handled
`, r.rates.others, measured, evaluated-goesViral, r.Spilled, r.SpillLeft, r.Violations, r.Overlaps, r.Lost, r.Replayed, r.Bound, r.Outage)
	return err
}
