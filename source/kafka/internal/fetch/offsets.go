package fetch

import (
	"context"
	"time"
)

// Query asks for an offset of a partition. The zero value asks for the earliest.
type Query struct {
	// Latest asks for the end: the last stable offset when reading committed records only, else the high watermark.
	Latest bool
	// Time asks for the first record with this time or a later one; the end if there is none.
	Time time.Time
}

// Offsets answers queries, by partition number, for one topic, with one request a leader. Faults that pass are retried until ctx
// ends. A partition that does not exist is an error that wraps ErrUnknownTopic.
func Offsets(ctx context.Context, cfg Config, topic string, queries map[int32]Query) (map[int32]int64, error) {
	return nil, ErrUnknownTopic
}
