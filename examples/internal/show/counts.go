package show

import "fmt"

// Counts says what was promised and seen.
type Counts struct {
	Violations int     `json:"order_violations"` // messages that began before the one before them on their post was handled
	Overlaps   int     `json:"overlaps"`         // messages that began while another one on their post was being handled
	Lost       int     `json:"lost"`             // messages that were never handled
	Replayed   int     `json:"replayed"`         // messages that were handled again after the kill
	Committed  int     `json:"committed"`        // messages begun by the killed process, and committed
	Bound      int     `json:"replay_bound"`     // messages begun by the killed process, and not committed
	Outage     float64 `json:"outage"`           // seconds from the kill until the handling of a message began
}

// Broken returns an error if the run broke a promise.
func (c Counts) Broken() error {
	if c.Violations == 0 && c.Overlaps == 0 && c.Lost == 0 {
		return nil
	}
	return fmt.Errorf("keystrand broke a promise: %d messages out of order, %d overlapping, %d lost; "+
		"if nobody else changed the topic or the group, please report this with the output above", c.Violations, c.Overlaps, c.Lost)
}
