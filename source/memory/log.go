package memory

import (
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/keystrand/keystrand"
)

// Log is one stream: its partitions with their messages, and the groups that read it. It is what a broker would keep,
// so it stays while sources come and go.
//
// A Log is safe for concurrent use. A partition number outside 0 to Partitions()-1 panics, as an index does.
type Log struct {
	stream string

	// Lock order: mu before the mutex of a shard.
	mu     sync.Mutex
	id     string // the identity, new with every Recreate
	shards []*shard
	groups map[string]*Group
}

// NewLog returns an empty log with this many partitions, numbered from 0. It panics if there are none.
func NewLog(stream string, partitions int) *Log {
	return newLog(stream, partitions, func(p int32) *shard { return &shard{stream: stream, partition: p} })
}

// Generate returns a log whose messages are made when they are fetched, so that a million of them need no memory. Each
// partition has n messages with the offsets 0 to n-1, and is closed: it ends with io.EOF.
//
// fill sets key, value, headers and time of one message; stream, partition and offset are set already. It must give
// the same for the same offset, must not reuse bytes it has given before, and is called from the fetching goroutines
// of several partitions at once.
func Generate(stream string, partitions int, n int64, fill func(partition int32, offset int64, m *keystrand.Message)) *Log {
	return newLog(stream, partitions, func(p int32) *shard {
		return &shard{stream: stream, partition: p, make: fill, end: max(0, n), closed: true}
	})
}

func newLog(stream string, partitions int, shardOf func(int32) *shard) *Log {
	if partitions < 1 {
		panic(fmt.Sprintf("memory: log %q with %d partitions: at least one is needed", stream, partitions))
	}
	l := &Log{stream: stream, id: newIdentity(), groups: make(map[string]*Group)}
	for p := range partitions {
		l.shards = append(l.shards, shardOf(int32(p)))
	}
	return l
}

// Stream returns the name of the stream.
func (l *Log) Stream() string { return l.stream }

// Partitions returns how many partitions there are.
func (l *Log) Partitions() int { return len(l.shards) }

// Append adds messages at the end of a partition and returns the offset that the next one will get. Stream, partition
// and offset are set by the log; the bytes are not copied and must not change any more. It panics on a closed log.
func (l *Log) Append(partition int32, msgs ...keystrand.Message) int64 {
	return l.shard(partition).append(-1, msgs)
}

// AppendAt is Append with the offset of the first message, which must not lie below the end of the partition: the
// offsets between are a hole.
func (l *Log) AppendAt(partition int32, offset int64, msgs ...keystrand.Message) int64 {
	return l.shard(partition).append(max(0, offset), msgs)
}

// Skip makes a hole of n offsets at the end of a partition and returns the offset that the next message will get.
// Readers see their position move without messages, as over control records and compacted tails.
func (l *Log) Skip(partition int32, n int64) int64 { return l.shard(partition).skip(n) }

// Delete removes the messages of a partition below an offset, as retention does.
func (l *Log) Delete(partition int32, before int64) { l.shard(partition).delete(before) }

// Bounds returns the first offset of a partition and the one that its next message will get.
func (l *Log) Bounds(partition int32) (start, end int64) {
	start, end, _ = l.shard(partition).bounds()
	return start, end
}

// Identity returns the identity of the log: the Log of the progress made from it.
func (l *Log) Identity() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// Close makes the log finite: nothing is appended any more, Fetch returns io.EOF at the end of a partition, and Accept
// returns io.EOF when its group has committed everything: while no commit is stored its partitions come again and again.
// Close may be called more than once.
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

// Recreate deletes the log and makes it again: empty, with another identity, offsets from 0. Whoever owns a partition
// has lost it. Groups keep what they committed, bound to the old identity, and their epochs go on. It panics on a
// generated log.
func (l *Log) Recreate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shards[0].make != nil {
		panic("memory: the messages of " + l.stream + " are generated: it cannot be made again")
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

// Group returns the group of this name, which begins with its first use. [Config] says how sources join it.
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

// newIdentity returns a name that no other log has: random, because a log made twice under one name is two logs.
func newIdentity() string { return rand.Text()[:12] }
