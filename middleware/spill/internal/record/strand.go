package record

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/keystrand/keystrand/middleware/spill"
)

// maxReason is how many bytes of a reason are kept.
const maxReason = 1 << 10

// Strand is what stores keep of a strand beside its records. Foreign is not kept: it depends on who opens.
type Strand struct{ spill.Strand }

// Begin returns a strand without records.
func Begin(key, log string, now time.Time) Strand {
	return Strand{Strand: spill.Strand{Key: key, From: -1, High: -1, Mark: -1, Since: now.Round(0).UTC(), Log: log}}
}

// Admits returns an error if the strand does not belong to the owner's log, and reports whether a record with this
// offset is to be stored, if it is not there already.
func (s *Strand) Admits(o spill.Owner, offset int64) (bool, error) {
	if s.Log != o.Log {
		return false, fmt.Errorf("key %.100q: the strand belongs to the log %q, not to %q: remove it first", s.Key, s.Log, o.Log)
	}
	return offset > s.Mark, nil
}

// Add counts a record that is stored, with the size of its message as stored.
func (s *Strand) Add(r *spill.Record, size int64) {
	if s.From < 0 || r.From < s.From {
		s.From = r.From
	}
	s.High = max(s.High, r.Message.Offset)
	if r.Hold {
		s.hold(r.Reason)
	}
	s.Records++
	s.Bytes += size
}

// Apply changes the strand as m says, after the records through m.Through were deleted: count of them with the size bytes. It
// reports whether the strand is removed.
func (s *Strand) Apply(m spill.Mark, count, bytes int64) (removed bool, err error) {
	s.Mark = max(s.Mark, m.Through)
	s.Records -= count
	s.Bytes -= bytes
	switch m.Change {
	case spill.Hold:
		s.hold(m.Reason)
	case spill.Resume:
		s.Held, s.Reason = false, ""
	case spill.Remove:
		if s.Records > 0 {
			return false, fmt.Errorf("key %.100q: %d records above offset %d: %w", s.Key, s.Records, s.Mark, spill.ErrRecordsLeft)
		}
		return true, nil
	case spill.Keep:
	}
	return false, nil
}

func (s *Strand) hold(reason string) {
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") // a character may have been cut
	}
	s.Held, s.Reason = true, reason
}

// Append appends the strand to dst.
func (s *Strand) Append(dst []byte) []byte {
	start := len(dst)
	held := byte(0)
	if s.Held {
		held = 1
	}
	dst = append(dst, Version, held)
	for _, n := range []int64{s.From, s.High, s.Mark, s.Records, s.Bytes} {
		dst = binary.AppendVarint(dst, n)
	}
	dst = appendTime(dst, s.Since)
	for _, text := range []string{s.Key, s.Log, s.Reason} {
		dst = appendString(dst, text)
	}
	return appendSum(dst, start)
}

// DecodeStrand returns the strand that Append has made b of. It shares no bytes with b.
func DecodeStrand(b []byte) (Strand, error) {
	r, err := newReader(b)
	if err != nil {
		return Strand{}, err
	}
	var s Strand
	held := r.take(1)
	s.Held = len(held) == 1 && held[0] == 1
	for _, n := range []*int64{&s.From, &s.High, &s.Mark, &s.Records, &s.Bytes} {
		*n = r.varint()
	}
	s.Since = r.time()
	for _, text := range []*string{&s.Key, &s.Log, &s.Reason} {
		*text = r.string()
	}
	return s, r.end()
}
