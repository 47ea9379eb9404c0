package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/examples/internal/show"
)

// result is the result of the demo.
type result struct {
	Rows    int     `json:"rows"`   // changes of rows, and statements
	Tables  int     `json:"tables"` // that had any
	PerS    float64 `json:"per_s"`  // changes handled a second while a process ran, repeats included
	SlowLag int     `json:"slow_table_lag"`
	// OtherLag is the largest of the other tables. Both lags are changes in the log that were not handled, at the kill.
	OtherLag int     `json:"other_tables_lag"`
	Clients  float64 `json:"per_s_one_client_a_table"`
	show.Counts
	Seconds float64 `json:"seconds"`

	Progress map[string]*commit.Progress `json:"-"` // at the kill, by table
	Lines    []line                      `json:"-"`
}

// line is a table in the result.
type line struct {
	Table       string
	Changes     int
	Again       int // handled again
	Lag         int // at the kill
	Killed, End int64
}

// fill adds what can be counted.
func (r *result) fill(d *demo, log []logged, j *judge, at time.Time) {
	r.Rows, r.Tables = len(log), len(j.tables)
	lag := lags(log, d.events, at)
	for _, stream := range tables(d.generator) {
		t := j.tables[stream]
		if t == nil {
			continue
		}
		r.Lines = append(r.Lines, line{Table: stream, Changes: len(t.changes), Again: t.again, Lag: lag[stream]})
		if stream == d.slow {
			r.SlowLag = lag[stream]
		} else {
			r.OtherLag = max(r.OtherLag, lag[stream])
		}
	}
	r.PerS = perSecond(d.events)
	if i := slices.IndexFunc(d.events, func(e event) bool { return e.process == 1 }); i >= 0 {
		r.Outage = d.events[i].at.Sub(at).Seconds()
	}
}

// perSecond returns how many changes were handled a second, while a process ran.
func perSecond(events []event) float64 {
	var ran time.Duration
	handled, first := 0, 0
	for i, e := range events {
		if !e.begins {
			handled++
		}
		if i+1 == len(events) || events[i+1].process != e.process {
			ran += e.at.Sub(events[first].at)
			first = i + 1
		}
	}
	if ran <= 0 {
		return 0
	}
	return float64(handled) / ran.Seconds()
}

func (r result) writeJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

func (r result) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "\n%-22s%10s%16s%14s%22s%18s\n", "", "changes", "handled again", "lag at kill", "checkpoint at kill", "checkpoint now")
	for _, l := range r.Lines {
		if err == nil {
			_, err = fmt.Fprintf(w, "%-22s%10d%16d%14d%22d%18d\n", l.Table, l.Changes, l.Again, l.Lag, l.Killed, l.End)
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `
one pipeline, %d workers          %8.0f changes/s of %d tables
one client for each table          %8.0f changes/s
out of order                       %8d
two of one row at the same time    %8d
lost                               %8d
handled again after kill -9        %8d of at most %d
outage after kill -9               %8.1f s until the next change was handled
lag of the slow table at the kill  %8d changes; of the others at most %d
`, workers, r.PerS, r.Tables, r.Clients, r.Violations, r.Overlaps, r.Lost, r.Replayed, r.Bound, r.Outage, r.SlowLag, r.OtherLag)
	return err
}
