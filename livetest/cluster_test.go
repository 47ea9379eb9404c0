//go:build unix

package livetest

import (
	"context"
	"errors"
	"strconv"

	"github.com/keystrand/keystrand/commit"
)

// Cluster is a live service as the scenarios see it. Nothing in it is of one product: a log with streams, partitions,
// groups that share them, and nodes that can be restarted.
type Cluster interface {
	// NewStream makes a stream that is gone after the test, and returns its name.
	NewStream(ctx context.Context, partitions int) (string, error)
	// Produce writes messages, each to the partition it names, in order for each partition, durably, and fills in their
	// offsets. It waits for a service that is not there.
	Produce(ctx context.Context, ms []Message) error
	// Source returns the name of the source (a key of sources) and the arguments with which a member reads the stream.
	// Its session is short: an owner that says nothing is missed after some seconds.
	// With the same arguments, the sink of that name (a key of sinks) writes to the stream.
	Source(stream, group string) (name string, args any)
	// Progress returns what is committed for the group, decoded, partitions without any left out.
	Progress(ctx context.Context, stream, group string) (map[int32]*commit.Progress, error)

	// Promises says in a history how the service keeps progress.
	Promises(h *History)

	// Restart ends a node in order, or at once, and starts it again. It returns when the node answers. note is told Stopping
	// or Crashing just before the end, and Gone behind it.
	Restart(ctx context.Context, node int, kill bool, note func(Kind)) error
	// Nodes returns how many there are.
	Nodes() int
	// MoveLeaders gives partitions of the stream other leaders, orderly, without a restart. note as above, where it matters.
	MoveLeaders(ctx context.Context, stream string, note func(Kind)) error
}

// restarts is the Restart of a service that tools/services controls.
func restarts(ctx context.Context, control func(context.Context, ...string) error, service string, node int, kill bool, note func(Kind)) error {
	end, going := "stop", Stopping
	if kill {
		end, going = "kill", Crashing
	}
	note(going)
	err := control(ctx, end, service, strconv.Itoa(node))
	note(Gone)
	return errors.Join(err, control(ctx, "start", service, strconv.Itoa(node)))
}
