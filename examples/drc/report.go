package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
)

// reports is the time between two reports about the tables.
const reports = 500 * time.Millisecond

// change names a change of a row, or a statement of a table.
type change struct {
	stream      string
	transaction string
	index       int // in its transaction, from 0
}

// event is the begin or the end of the handling of a change.
type event struct {
	change
	begins  bool
	offset  int64
	process int // from 0
	at      time.Time
}

// report writes the whole line in one call, so that the demo knows everything that a killed process did.
func report(kind byte, m *keystrand.Message, transaction string, index int) {
	_, _ = os.Stdout.Write(fmt.Appendf(nil, "%c %s %d %s %d\n", kind, m.Stream, m.Offset, transaction, index))
}

// parseEvent reads a line of report.
func parseEvent(line string) (e event, ok bool) {
	var kind byte
	_, err := fmt.Sscanf(line, "%c %s %d %s %d", &kind, &e.stream, &e.offset, &e.transaction, &e.index)
	e.begins = kind == 'b'
	return e, err == nil && (kind == 'b' || kind == 'e')
}

// standing is where a process is in a table.
type standing struct {
	stream        string
	position, lag int64 // in the log's numbers
}

// reportTables reports the standing of each table until ctx ends.
func reportTables(ctx context.Context, p *pipeline.Pipeline) {
	tick := time.NewTicker(reports)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var lines []byte
		for _, t := range p.Snapshot().Partitions {
			lines = fmt.Appendf(lines, "t %s %d %d\n", t.ID.Stream, t.Frontier, t.Lag)
		}
		_, _ = os.Stdout.Write(lines)
	}
}

// parseStanding reads a line of reportTables.
func parseStanding(line string) (s standing, ok bool) {
	_, err := fmt.Sscanf(line, "t %s %d %d", &s.stream, &s.position, &s.lag)
	return s, err == nil
}
