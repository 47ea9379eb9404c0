package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/pipeline"
)

// A depth says where the comments of the viral post wait.
type depth struct {
	Partitions int   // that the process owns
	Lane       int   // comments in memory
	Log        int64 // comments in the store
	Spilled    int64 // comments that the process has appended to the store
}

// reportDepth reports the depth to the demo, twice a second.
func reportDepth(ctx context.Context, p *pipeline.Pipeline) {
	tick := time.NewTicker(samples)
	defer tick.Stop()
	for {
		_, _ = os.Stdout.WriteString(depthOf(p.Snapshot()).String())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func depthOf(s pipeline.Snapshot) depth {
	d := depth{Partitions: len(s.Partitions), Log: s.Diverting.Records, Spilled: s.Diverting.Appended}
	for _, p := range s.Partitions {
		for _, k := range p.HotKeys {
			if k.Key == viral {
				d.Lane = k.Waiting
			}
		}
	}
	return d
}

// String returns the line of the report.
func (d depth) String() string {
	return fmt.Sprintf("depth %d %d %d %d\n", d.Partitions, d.Lane, d.Log, d.Spilled)
}

// ready reports whether the process owns all partitions.
func (d depth) ready() bool { return d.Partitions == show.Partitions }

// parseDepth returns the depth of a line; false if it is another report.
func parseDepth(line string) (d depth, ok bool) {
	if !strings.HasPrefix(line, "depth ") {
		return depth{}, false // Sscanf would be slow
	}
	_, err := fmt.Sscanf(line, "depth %d %d %d %d", &d.Partitions, &d.Lane, &d.Log, &d.Spilled)
	return d, err == nil
}
