package memory

import (
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/keystrand/keystrand"
)

// Log is one stream: its partitions, their messages, and the groups that read it. Like a topic of a broker, it is independent of
// its sources.
//
// A Log is safe for concurrent use. Its methods panic if a partition number is not in the range 0 to Partitions()-1.
type Log struct {
	stream string

	// Lock order: mu before the mutex of a shard.
	mu     sync.Mutex
	id     string // identity; Recreate changes it
	shards []*shard
	groups map[string]*Group
}

// NewLog returns an empty log with this number of partitions, numbered from 0. It panics if partitions is less than 1.
func NewLog(stream string, partitions int) *Log {
	return newLog(stream, partitions, func(p int32) *shard { return &shard{stream: stream, partition: p} })
}

// Generate returns a log that generates its messages in Fetch, so that a large log needs no memory. Each partition has n
// messages with the offsets 0 to n-1. The log is closed: Fetch returns io.EOF at its end.
//
// fill sets the key, value, headers and time of one message. Stream, partition and offset are already set. fill must return the
// same content for the same offset and must not reuse bytes. It is called concurrently for different partitions.
func Generate(stream string, partitions int, n int64, fill func(partition int32, offset int64, m *keystrand.Message)) *Log {
	return newLog(stream, partitions, func(p int32) *shard {
		return &shard{stream: stream, partition: p, make: fill, end: max(0, n), closed: true}
	})
}

func newLog(stream string, partitions int, shardOf func(int32) *shard) *Log {
	if partitions < 1 {
		panic(fmt.Sprintf("memory: log %q has %d partitions: at least one is required", stream, partitions))
	}
	l := &Log{stream: stream, id: newIdentity(), groups: make(map[string]*Group)}
	for p := range partitions {
		l.shards = append(l.shards, shardOf(int32(p)))
	}
	return l
}

// Stream returns the name of the stream.
func (l *Log) Stream() string { return l.stream }

// Partitions returns the number of partitions.
func (l *Log) Partitions() int { return len(l.shards) }

// Append appends messages to a partition and returns the offset of the next message. The log sets stream, partition and offset.
// It does not copy the bytes, so the caller must not change them. Append panics on a closed log.
func (l *Log) Append(partition int32, msgs ...keystrand.Message) int64 {
	return l.shard(partition).append(-1, msgs)
}

// AppendAt is like Append, but sets the offset of the first message. The offsets between the end of the partition and this offset
// are skipped. AppendAt panics if offset is below the end.
func (l *Log) AppendAt(partition int32, offset int64, msgs ...keystrand.Message) int64 {
	return l.shard(partition).append(max(0, offset), msgs)
}

// Skip skips n offsets at the end of a partition and returns the offset of the next message. The position of readers moves
// without messages, as over control records and compacted tails.
func (l *Log) Skip(partition int32, n int64) int64 { return l.shard(partition).skip(n) }

// Delete removes the messages of a partition below the offset before, as a retention policy does.
func (l *Log) Delete(partition int32, before int64) { l.shard(partition).delete(before) }

// Bounds returns the first offset of a partition and the offset of its next message.
func (l *Log) Bounds(partition int32) (start, end int64) {
	start, end, _ = l.shard(partition).bounds()
	return start, end
}

// Identity returns the identity of the log. It is the Log of its commit.Progress.
func (l *Log) Identity() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// Close makes the log finite. Append then panics, and Fetch returns io.EOF at the end of a partition. Accept returns io.EOF after
// its group has committed all partitions up to their ends; until then it returns uncommitted partitions again. Close may be
// called more than once.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.shards {
		s.close()
	}
	for _, g := range l.groups {
		g.wakeLocked()
	}
}

// Recreate deletes the log and creates it again: empty, with a new identity and offsets from 0. All partitions are lost. Groups
// keep their commits, which belong to the old identity, and their epochs. Recreate panics on a generated log.
func (l *Log) Recreate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shards[0].make != nil {
		panic("memory: log " + l.stream + " is generated: it cannot be recreated")
	}
	l.id = newIdentity()
	for p := range l.shards {
		l.shards[p] = &shard{stream: l.stream, partition: int32(p)}
	}
	for _, g := range l.groups {
		for p := range g.parts {
			if owner := g.parts[p].owner; owner != nil {
				g.loseLocked(owner, nil)
			}
		}
		g.wakeLocked()
	}
}

// Group returns the group with this name, and creates it at the first call. A source joins the group named by [Config].Group.
func (l *Log) Group(name string) *Group {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.groupLocked(name)
}

func (l *Log) groupLocked(name string) *Group {
	g := l.groups[name]
	if g == nil {
		g = &Group{log: l, name: name, parts: make([]part, len(l.shards))}
		l.groups[name] = g
	}
	return g
}

func (l *Log) shard(partition int32) *shard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shards[partition]
}

// newIdentity returns a random identity. Two logs with the same stream have different identities.
func newIdentity() string { return rand.Text()[:12] }
