package memory

import (
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// shard holds the messages of one partition in a slice. A fetch copies a part of it.
type shard struct {
	stream    string
	partition int32
	make      func(partition int32, offset int64, m *keystrand.Message) // nil, or generates the messages

	mu      sync.Mutex
	kept    []keystrand.Message // only appended to, so elements below len may be read without the lock
	sizes   []int64             // sizes[i] is the number of bytes up to kept[i], including dropped messages
	dropped int                 // number of messages deleted before kept
	before  int64               // bytes of the dropped messages
	start   int64               // first offset
	end     int64               // offset of the next message
	closed  bool
	changed chan struct{} // made by a waiting reader, closed at the next change
}

// cursor is the position of a reader in a shard. It is used by one goroutine.
type cursor struct {
	offset int64
	index  int // index of the first message at or above offset, counting dropped ones; -1: unknown
}

// fetched is the result of one read of a shard.
type fetched int

const (
	moved fetched = iota
	atTail
	atEnd
)

// append appends messages at offset, or at the end if offset is negative, and returns the new end.
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
		m.Attempt, m.Epoch, m.Time = 0, 0, m.Time.UTC()
		offset++
		total += int64(m.Size())
		s.kept = append(s.kept, m)
		s.sizes = append(s.sizes, total)
	}
	s.end = offset
	s.changedLocked()
	return s.end
}

// skip moves the end by n without messages and returns the new end.
func (s *shard) skip(n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 0 {
		panic("memory: Skip: the number of offsets is negative")
	}
	s.openLocked(s.end + n)
	s.end += n
	s.changedLocked()
	return s.end
}

// openLocked panics if no message can be appended at this offset.
func (s *shard) openLocked(offset int64) {
	switch {
	case s.make != nil:
		panic("memory: append to " + s.stream + ": the log is generated")
	case s.closed:
		panic("memory: append to " + s.stream + ": the log is closed")
	case offset < s.end:
		panic("memory: append to " + s.stream + ": the offset is below the end of the partition")
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
		// The copy allows the garbage collector to free deleted messages. Readers may still use the old slice.
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

// bounds returns the first offset and the end of the shard. It reports whether the shard is closed.
func (s *shard) bounds() (start, end int64, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start, s.end, s.closed
}

// read appends the messages at the cursor to b, moves the cursor and sets b.Next. If there are none, it returns atEnd for a
// closed shard, else atTail with a channel that is closed at the next change. A batch ends before the first offset for which
// bad returns an error. If that is the offset of the cursor, read returns the error.
func (s *shard) read(c *cursor, b *source.Batch, bad func(offset int64) error) (fetched, <-chan struct{}, error) {
	s.mu.Lock()
	if c.offset < s.start {
		c.offset = s.start // the messages at the cursor were deleted
		if c.offset == s.end {
			// The position moves without a message.
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

// generate is read for a shard that generates its messages.
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
		// The message is filled in place, because append would copy it, and a Message is large.
		at := len(b.Messages)
		if at == cap(b.Messages) {
			b.Messages = slices.Grow(b.Messages, int(min(256, end-c.offset)))
		}
		b.Messages = b.Messages[:at+1]
		m := &b.Messages[at]
		*m = keystrand.Message{Stream: s.stream, Partition: s.partition, Offset: c.offset}
		s.make(s.partition, c.offset, m)
		if m.Time.Location() != time.UTC {
			m.Time = m.Time.UTC()
		}
		bytes += m.Size()
		if bytes > b.MaxBytes && len(b.Messages)-first > 1 {
			b.Messages = b.Messages[:at] // the next fetch generates it again
			break
		}
		c.offset++
	}
	b.Next = c.offset
	return nil
}

// fitLocked returns the end of a batch that starts at kept[from]. The batch is within the limits of b or has one message.
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

// bytesLocked returns the number of bytes of all messages before kept[n].
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

// wake wakes all readers, although nothing has changed.
func (s *shard) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changedLocked()
}

func (s *shard) changedLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
