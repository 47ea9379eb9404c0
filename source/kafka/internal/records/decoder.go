package records

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// chunkSize bounds the memory that one small message can pin: records are copied out of the response, whole runs of
// them at once, into chunks of at most this size; a larger record gets a chunk of its own. The response's buffer is
// used again.
const chunkSize = 64 << 10

// Aborted is an aborted transaction: the records of Producer from offset First on, up to its marker.
type Aborted struct{ Producer, First int64 }

// Decoder turns the batches of a response into messages, as many as are wanted at a time. It is used by one goroutine.
type Decoder struct {
	topic     string
	partition int32
	committed bool // leave out the records of aborted transactions
	epochs    *Epochs

	next int64 // the position: behind everything that was returned or skipped

	set     []byte             // batches that are not begun
	aborted []Aborted          // of this response, ascending
	live    map[int64]struct{} // producers inside an aborted transaction

	batch  head
	last   int64           // offset of the record before, within the batch
	left   int32           // records of the batch that are not returned yet
	src    []byte          // their bytes, in a buffer that is used again
	chunk  []byte          // the ones that are copied out
	legacy []legacyMessage // the same for magic 0 and 1

	buffers *buffer.Pool
	z       *decompressor // holds the batch if it was compressed, else nil
	piece   int           // of a batch that is larger when decompressed

	names map[string]string  // header keys seen
	slab  []keystrand.Header // headers not given out yet
}

// NewDecoder returns a decoder at offset start. committed leaves out the records of aborted transactions.
func NewDecoder(topic string, partition int32, start int64, committed bool, e *Epochs, b *buffer.Pool) *Decoder {
	return &Decoder{
		topic: topic, partition: partition, committed: committed, epochs: e, buffers: b, piece: large, next: start,
		live: map[int64]struct{}{}, names: map[string]string{},
	}
}

// Load begins a response, whose batches Scan has checked. Every response lists the aborted transactions of
// its own range, so Load keeps none of the previous list. The list is not always in order.
func (d *Decoder) Load(set []byte, aborted []Aborted) {
	slices.SortFunc(aborted, func(a, b Aborted) int { return cmp.Compare(a.First, b.First) })
	d.set, d.aborted = set, aborted
	clear(d.live)
}

// Next returns the position: the offset after all records returned or skipped.
func (d *Decoder) Next() int64 { return d.next }

// Skip moves the position forward to an offset.
func (d *Decoder) Skip(to int64) { d.next = max(d.next, to) }

// Empty reports whether everything that was loaded has been returned.
func (d *Decoder) Empty() bool { return len(d.set) == 0 && d.left == 0 }

// Fill appends messages to b up to its limits and moves the position. An error is about the data at the position.
func (d *Decoder) Fill(b *source.Batch) error {
	size := 0
	for len(b.Messages) < max(1, b.MaxMessages) {
		if d.left == 0 {
			if len(d.set) == 0 {
				return nil
			}
			if err := d.begin(); err != nil {
				return err
			}
			continue
		}
		full, err := d.record(b, &size)
		if err != nil || full {
			return err
		}
		if d.left == 0 {
			if err := d.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin starts the next batch, or skips it.
func (d *Decoder) begin() error {
	h, rest, ok, err := nextBatch(d.set, false)
	if err != nil || !ok {
		return cmp.Or(err, wire.ErrShort)
	}
	if h.last < d.next && h.magic == 2 && !h.control() { // a broker may begin below the offset asked for
		d.set = rest
		return nil
	}
	d.epochs.see(max(h.base, d.next), h.epoch)
	skip := h.records == 0
	if d.committed {
		for len(d.aborted) > 0 && d.aborted[0].First <= h.last {
			d.live[d.aborted[0].Producer] = struct{}{}
			d.aborted = d.aborted[1:]
		}
		_, dead := d.live[h.producer]
		skip = skip || dead && h.transactional() && !h.control()
	}
	if skip {
		d.set, d.next = rest, max(d.next, h.last+1)
		return nil
	}
	body := h.body
	if codec := h.attributes & attrCodec; codec != 0 {
		piece := d.piece
		if h.magic < 2 {
			r := wire.Reader{B: body}
			body = readLegacy(&r).value
			piece = 0 // the last message numbers the others
		}
		if d.z, err = borrow(d.buffers, codec, body, h.magic == 2, piece); err != nil {
			return err
		}
		body = d.z.out
	}
	switch {
	case h.control():
		if err := d.marker(&h, body); err != nil {
			return err
		}
		d.giveBack()
		d.set, d.next = rest, max(d.next, h.last+1)
		return nil
	case h.magic < 2:
		if d.legacy, err = unpackLegacy(&h, body); err != nil {
			return err
		}
		h.records = int32(len(d.legacy))
	default:
		d.src, d.chunk = body, nil
	}
	if h.records == 0 {
		d.next = max(d.next, h.last+1)
		d.giveBack()
	}
	d.batch, d.left, d.set, d.last = h, h.records, rest, -1
	return nil
}

// marker reads the control record that ends a transaction: its key is version int16, type int16; type 0 is an abort.
func (d *Decoder) marker(h *head, body []byte) error {
	length, n := varint(body)
	if n == 0 || length < 0 || length > int64(len(body)-n) {
		return errRecord
	}
	p := fields{b: body[n : n+int(length)]}
	p.skip(1)
	p.varint()
	p.varint()
	key := p.bytes()
	if p.bad || len(key) < 4 {
		return errors.New("control record has no type")
	}
	if binary.BigEndian.Uint16(key[2:]) == 0 {
		delete(d.live, h.producer)
	}
	return nil
}

// end finishes a batch whose records have all been returned.
func (d *Decoder) end() error {
	if err := d.fill(1); err != nil {
		return err
	}
	if rest := len(d.src) + len(d.chunk); rest > 0 && (d.z == nil || !d.z.ends(rest)) {
		return errors.New("batch has bytes behind its last record")
	}
	d.next = max(d.next, d.batch.last+1)
	d.endBatch()
	return nil
}

// Drop forgets the loaded batches; the caller may use their memory again.
func (d *Decoder) Drop() {
	d.set = nil
	d.endBatch()
}

// endBatch releases the batch and its buffers.
func (d *Decoder) endBatch() {
	d.src, d.chunk, d.legacy, d.batch.body, d.left = nil, nil, nil, nil, 0
	d.giveBack()
}

func (d *Decoder) giveBack() {
	if d.z != nil {
		giveBack(d.buffers, d.z)
		d.z = nil
	}
}

var errRecord = errors.New("malformed record")

// record appends the next record of the batch, unless it does not fit in b any more.
func (d *Decoder) record(b *source.Batch, size *int) (full bool, err error) {
	if d.batch.magic < 2 {
		return d.legacyRecord(b, size)
	}
	if len(d.chunk) == 0 {
		if err := d.refill(); err != nil {
			return false, err
		}
	}
	length, n := varint(d.chunk) // refill has checked it
	end := n + int(length)
	if len(b.Messages) > 0 && *size+int(length) > b.MaxBytes {
		return true, nil
	}
	p := fields{b: d.chunk[n:end:end]}
	p.skip(1) // attributes, unused
	ms := d.batch.firstTime + p.varint()
	delta := p.varint()
	offset := d.batch.base + delta
	if p.bad {
		return false, errRecord
	}
	if delta < 0 || offset > d.batch.last || offset <= d.last {
		return false, fmt.Errorf("record offset is %d, not between %d and %d", offset, d.last, d.batch.last)
	}
	if offset >= d.next {
		m := d.add(b, offset, ms)
		m.Key, m.Value = p.bytes(), p.bytes()
		if n := p.varint(); n != 0 {
			m.Headers = d.headers(&p, n)
		}
		if p.bad || len(p.b) > 0 {
			b.Messages = b.Messages[:len(b.Messages)-1]
			return false, errRecord
		}
		*size += int(length)
		d.next = offset + 1
	}
	d.last = offset
	d.chunk = d.chunk[end:]
	d.left--
	return false, nil
}

// add appends a message to b, to be completed.
func (d *Decoder) add(b *source.Batch, offset, ms int64) *keystrand.Message {
	if d.batch.attributes&attrLogAppendTime != 0 {
		ms = d.batch.maxTime
	}
	b.Messages = append(b.Messages, keystrand.Message{Stream: d.topic, Partition: d.partition, Offset: offset})
	m := &b.Messages[len(b.Messages)-1]
	if ms != -1 { // -1 is no time
		if m.Time = time.UnixMilli(ms).UTC(); m.Time.IsZero() {
			m.Time = m.Time.Add(1) // the zero Time is no time
		}
	}
	return m
}

// headers reads the n headers of a record.
func (d *Decoder) headers(p *fields, n int64) []keystrand.Header {
	if n < 0 || n > int64(len(p.b)/2) { // each has two lengths
		p.bad = true
		return nil
	}
	if int(n) > len(d.slab) {
		d.slab = make([]keystrand.Header, max(int(n), min(slabSize, int(n)*int(d.left))))
	}
	hs := d.slab[:n:n]
	d.slab = d.slab[n:]
	for i := range hs {
		name := p.bytes()
		p.bad = p.bad || name == nil // the key of a header is never null
		hs[i] = keystrand.Header{Key: d.name(name), Value: p.bytes()}
	}
	return hs
}

// slabSize is how many headers are allocated at once at most: few enough for one parked message to pin.
const slabSize = 32

// refill copies the next run of whole records out of the response, so that messages never share its memory.
func (d *Decoder) refill() error {
	if err := d.fill(chunkSize); err != nil {
		return err
	}
	n := 0
	for n < len(d.src) {
		length, k := varint(d.src[n:])
		if k == 0 || length < 0 || length > int64(len(d.src)-n-k) {
			if n > 0 {
				break // the records before it are complete
			}
			return d.long(k, length)
		}
		end := n + k + int(length)
		if n > 0 && end > chunkSize {
			break
		}
		n = end
	}
	if n == 0 {
		return fmt.Errorf("batch lacks its last %d records", d.left)
	}
	d.chunk = bytes.Clone(d.src[:n])
	d.src = d.src[n:]
	return nil
}

// fill decompresses the next piece of the batch if fewer than enough bytes are left of the one before.
func (d *Decoder) fill(enough int) (err error) {
	if d.z != nil && d.z.rest != nil && len(d.src) < enough {
		d.src, err = d.z.fill(d.buffers, len(d.src), d.piece)
	}
	return err
}

// long copies a record that is longer than the decompressed piece of the batch. Its first k bytes are the length of the others.
func (d *Decoder) long(k int, length int64) error {
	if k == 0 || length < 0 || d.z == nil || length > int64(min(d.z.most, maxBatch)) { // a body of this size holds no more
		return errRecord
	}
	chunk := make([]byte, 0, k+int(length))
	for {
		n := min(cap(chunk)-len(chunk), len(d.src))
		chunk, d.src = append(chunk, d.src[:n]...), d.src[n:]
		if len(chunk) == cap(chunk) {
			d.chunk = chunk
			return nil
		}
		if d.z.rest == nil {
			return errRecord
		}
		if err := d.fill(1); err != nil {
			return err
		}
	}
}

func (d *Decoder) legacyRecord(b *source.Batch, size *int) (full bool, err error) {
	old := &d.legacy[len(d.legacy)-int(d.left)]
	length := len(old.key) + len(old.value)
	if len(b.Messages) > 0 && *size+length > b.MaxBytes {
		return true, nil
	}
	if old.offset < 0 || old.offset <= d.last || old.offset > d.batch.last {
		return false, fmt.Errorf("message offset is %d, not between %d and %d", old.offset, d.last, d.batch.last)
	}
	if old.offset >= d.next {
		m := d.add(b, old.offset, old.time)
		m.Key, m.Value = bytes.Clone(old.key), bytes.Clone(old.value)
		*size += length
		d.next = old.offset + 1
	}
	d.last = old.offset
	d.left--
	return false, nil
}

// name returns a header key as a string. Keys repeat, so it caches them, up to a bound.
func (d *Decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.names) < 256 && len(s) <= 256 {
		d.names[s] = s
	}
	return s
}
