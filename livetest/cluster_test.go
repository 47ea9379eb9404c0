//go:build unix

package livetest

import (
	"context"

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

	// Restart ends a node in order, or at once, and starts it again. It returns when the node answers.
	Restart(ctx context.Context, node int, kill bool) error
	// Nodes returns how many there are.
	Nodes() int
	// MoveLeaders gives partitions of the stream other leaders, orderly, without a restart.
	MoveLeaders(ctx context.Context, stream string) error
}
