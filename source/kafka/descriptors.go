package kafka

import (
	"context"
	"fmt"
	"os"
)

// Descriptors of files that a member needs: a connection of its own for the fetches of each partition, and as many again while
// partitions start; and some for the group and for metadata.
const (
	descriptorsEach = 2
	descriptorsMore = 32
)

// checkDescriptors returns an error if the process may not open enough files for the connections of its partitions. Without it
// some partitions would fail to connect, again and again. Once this member has joined, the error is trouble and no end: a member
// that ends would give its partitions to others, which could then fail too.
func (s *Source) checkDescriptors(ctx context.Context, partitions int) error {
	const operation = "descriptors"
	limit, open, known := s.descriptors()
	need := descriptorsEach*partitions + descriptorsMore
	s.mu.Lock()
	first := !s.joined
	s.mu.Unlock()
	if !first {
		open = 0 // most are connections of our own, and are used again
	}
	if !known || need <= limit-open {
		s.cluster.Health.Works(ctx, operation)
		return nil
	}
	err := fmt.Errorf("kafka: group %q: %d partitions need up to %d file descriptors, but the process may open only %d, of which %d are in use: "+
		"raise the limit (ulimit -n, LimitNOFILE) or start more members", s.cluster.Group, partitions, need, limit, open)
	if first {
		return err
	}
	s.cluster.Health.Fails(ctx, operation, err)
	return nil
}

// openDescriptors counts the open files of the process; 0 if the system does not tell.
func openDescriptors() int {
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return 0
	}
	return len(open)
}
