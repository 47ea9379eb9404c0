package show

import (
	"encoding/json"
	"fmt"
	"io"
)

// table is the result of a demo.
type table struct {
	Baseline  float64 `json:"baseline_per_s"`  // messages a second with one ordered consumer for each partition
	Keystrand float64 `json:"keystrand_per_s"` // messages a second with keystrand, while a process ran
	Speedup   float64 `json:"speedup"`         // Keystrand divided by Baseline
	Counts
}

func (t table) writeJSON(w io.Writer) error { return json.NewEncoder(w).Encode(t) }

func (t table) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, `
one consumer for each partition   %8.0f messages/s
keystrand, %d workers            %8.0f messages/s, %.1f times as many
out of order                      %8d
two of one post at the same time  %8d
lost                              %8d
handled again after kill -9       %8d of at most %d
outage after kill -9              %8.1f s until the next message was handled
`, t.Baseline, workers, t.Keystrand, t.Speedup, t.Violations, t.Overlaps, t.Lost, t.Replayed, t.Bound, t.Outage)
	return err
}
