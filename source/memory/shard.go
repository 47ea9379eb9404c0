package memory

import (
	"slices"
	"sort"
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// shard is one partition's messages: a prepared slice, of which a fetch is one copy.
type shard struct {
	stream    string
	partition int32
	make      func(partition int32, offset int64, m *keystrand.Message) // not nil: messages are made, not kept

	mu      sync.Mutex
	kept    []keystrand.Message // appended only, so what lies below len may be read without the lock
	sizes   []int64             // sizes[i] is the bytes of every message up to kept[i], dropped ones included
	dropped int                 // how many messages retention has removed in front of kept
	before  int64               // their bytes
	start   int64               // where the log begins
	end     int64               // the offset the next message gets
	closed  bool
	changed chan struct{} // made by a reader that waits, closed by the next change
}

// cursor is a reader's place in a shard, used by its one fetching goroutine.
type cursor struct {
	offset int64
	index  int // of the first message at or above offset, dropped ones included; -1: not looked up yet
}

// fetched says what one read of a shard came to.
type fetched int

const (
	moved fetched = iota
	atTail
	atEnd
)

// append adds messages at this offset, or at the end if it is negative, and returns the new end.
func (s *shard) append(offset int64, msgs []keystrand.Message) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset < 0 {
		offset = s.end
	}
	s.openLocked(offset)
	s.kept = slices.Grow(s.kept, len(msgs))
	total := s.bytesLocked(len(s.kept))
	for i := range msgs {
		m := msgs[i]
		m.Stream, m.Partition, m.Offset = s.stream, s.partition, offset
		m.Attempt, m.Epoch = 0, 0
		offset++
		total += int64(m.Size())
		s.kept = append(s.kept, m)
		s.sizes = append(s.sizes, total)
	}
	s.end = offset
	s.changedLocked()
	return s.end
}

// skip moves the end without messages and returns the new one.
func (s *shard) skip(n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 0 {
		panic("memory: Skip of a negative number of offsets")
	}
	s.openLocked(s.end + n)
	s.end += n
	s.changedLocked()
	return s.end
}

// openLocked panics where nothing can be written at this offset.
func (s *shard) openLocked(offset int64) {
	switch {
	case s.make != nil:
		panic("memory: the messages of " + s.stream + " are generated: nothing can be appended")
	case s.closed:
		panic("memory: " + s.stream + " is closed: nothing can be appended")
	case offset < s.end:
		panic("memory: " + s.stream + " cannot be appended to below its end")
	}
}

// delete removes the messages below this offset.
func (s *shard) delete(before int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = min(before, s.end)
	if before <= s.start {
		return
	}
	s.start = before
	if s.make == nil {
		n := s.searchLocked(before)
		s.before = s.bytesLocked(n)
		s.dropped += n
		// A copy, so that what was removed can be collected; readers may still hold the old slice.
		s.kept, s.sizes = slices.Clone(s.kept[n:]), slices.Clone(s.sizes[n:])
	}
	s.changedLocked()
}

func (s *shard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changedLocked()
}

// bounds returns where the shard begins and ends, and whether it stays that way.
func (s *shard) bounds() (start, end int64, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start, s.end, s.closed
}

// read appends what lies at the cursor to b, moves the cursor and sets b.Next. If there is nothing it returns atTail
// with a channel that closes at the next change, or atEnd. A batch ends before the first offset that bad refuses; if
// that is at the cursor itself, read returns the refusal.
func (s *shard) read(c *cursor, b *source.Batch, bad func(offset int64) error) (fetched, <-chan struct{}, error) {
	s.mu.Lock()
	if c.offset < s.start {
		c.offset = s.start // retention has overtaken the reader
		if c.offset == s.end {
			// A move of its own: the reader must learn it although there is no message.
			s.mu.Unlock()
			b.Next = c.offset
			return moved, nil, nil
		}
	}
	if c.offset >= s.end {
		defer s.mu.Unlock()
		if s.closed {
			return atEnd, nil, nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		return atTail, s.changed, nil
	}
	if s.make != nil {
		end := s.end
		s.mu.Unlock()
		return moved, nil, s.generate(c, b, end, bad)
	}
	if c.index < s.dropped {
		c.index = s.dropped + s.searchLocked(c.offset)
	}
	from := c.index - s.dropped
	to := s.fitLocked(from, b)
	next := s.end
	if to < len(s.kept) {
		next = s.kept[to].Offset
	}
	msgs := s.kept[from:to]
	s.mu.Unlock()

	if bad != nil {
		for i := range msgs {
			if err := bad(msgs[i].Offset); err != nil {
				if i == 0 {
					return moved, nil, err
				}
				msgs, next = msgs[:i], msgs[i].Offset
				break
			}
		}
	}
	b.Messages = append(b.Messages, msgs...)
	b.Next = next
	c.offset, c.index = next, c.index+len(msgs)
	return moved, nil, nil
}

// generate is read for messages that are made.
func (s *shard) generate(c *cursor, b *source.Batch, end int64, bad func(offset int64) error) error {
	bytes, first := 0, len(b.Messages)
	for c.offset < end && len(b.Messages)-first < b.MaxMessages {
		if bad != nil {
			if err := bad(c.offset); err != nil {
				if len(b.Messages) == first {
					return err
				}
				break
			}
		}
		// In place: a Message is large, and append would make it first and then copy it.
		at := len(b.Messages)
		if at == cap(b.Messages) {
			b.Messages = slices.Grow(b.Messages, int(min(256, end-c.offset)))
		}
		b.Messages = b.Messages[:at+1]
		m := &b.Messages[at]
		*m = keystrand.Message{Stream: s.stream, Partition: s.partition, Offset: c.offset}
		s.make(s.partition, c.offset, m)
		bytes += m.Size()
		if bytes > b.MaxBytes && len(b.Messages)-first > 1 {
			b.Messages = b.Messages[:at] // made again by the next fetch
			break
		}
		c.offset++
	}
	b.Next = c.offset
	return nil
}

// fitLocked returns where a batch that begins at kept[from] ends: at its limits, but never without a message.
func (s *shard) fitLocked(from int, b *source.Batch) int {
	to := min(len(s.kept), from+max(1, b.MaxMessages))
	if to <= from+1 {
		return to
	}
	most := s.bytesLocked(from) + int64(b.MaxBytes)
	if s.sizes[to-1] <= most {
		return to
	}
	n := sort.Search(to-from, func(i int) bool { return s.sizes[from+i] > most })
	return from + max(1, n)
}

// bytesLocked returns the bytes of every message in front of kept[n].
func (s *shard) bytesLocked(n int) int64 {
	if n == 0 {
		return s.before
	}
	return s.sizes[n-1]
}

// searchLocked returns the index in kept of the first message at or above this offset.
func (s *shard) searchLocked(offset int64) int {
	return sort.Search(len(s.kept), func(i int) bool { return s.kept[i].Offset >= offset })
}

func (s *shard) changedLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
