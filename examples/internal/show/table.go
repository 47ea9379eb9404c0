package show

import (
	"encoding/json"
	"fmt"
	"io"
)

// table is the result of a demo.
type table struct {
	Baseline   float64 `json:"baseline_per_s"`   // messages a second with one ordered consumer for each partition
	Keystrand  float64 `json:"keystrand_per_s"`  // messages a second with keystrand, while a process ran
	Speedup    float64 `json:"speedup"`          // Keystrand divided by Baseline
	Violations int     `json:"order_violations"` // messages that began before the one before them on their post was handled
	Overlaps   int     `json:"overlaps"`         // messages that began while another one on their post was being handled
	Lost       int     `json:"lost"`             // messages that were never handled
	Replayed   int     `json:"replayed"`         // messages that were handled again after the kill
	Committed  int     `json:"committed"`        // messages begun by the killed process, and committed
	Bound      int     `json:"replay_bound"`     // messages begun by the killed process, and not committed
	Outage     float64 `json:"outage"`           // seconds from the kill until the handling of a message began
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

// broken returns an error if the run broke a promise.
func (t table) broken() error {
	if t.Violations == 0 && t.Overlaps == 0 && t.Lost == 0 {
		return nil
	}
	return fmt.Errorf("keystrand broke a promise: %d messages out of order, %d overlapping, %d lost; "+
		"if nobody else changed the topic or the group, please report this with the output above", t.Violations, t.Overlaps, t.Lost)
}
