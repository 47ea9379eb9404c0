package bolt

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// maxRecord bounds a record, below what bbolt can store in one value.
const maxRecord = 1 << 30

// transaction changes strands and their records. Each strand is read and written once.
type transaction struct {
	owner     spill.Owner
	partition uint32
	strands   *bbolt.Bucket
	records   *bbolt.Bucket
	loaded    map[string]*loaded
}

// loaded is a strand in a transaction.
type loaded struct {
	record.Strand

	name    []byte // its key in the bucket
	exists  bool   // false: there is none, or it was removed
	changed bool
}

// entry is a record as it is stored.
type entry struct {
	bytes []byte
	size  int64 // of the message
}

// encode returns the form of a record, or why it can never be stored.
func encode(l *ownership, r *spill.Record) (entry, error) {
	if err := record.Check(l.owner, r); err != nil {
		return entry{}, err
	}
	m, err := spill.AsStored(&r.Message)
	if err != nil {
		return entry{}, err
	}
	size := m.Size()
	if size > maxRecord {
		return entry{}, fmt.Errorf("the message has %d bytes, and the file takes %d", size, maxRecord)
	}
	return entry{record.Append(make([]byte, 0, size+96+8*len(m.Headers)), &m), int64(size)}, nil
}

// add stores a record, unless it is there or below the mark.
func (t *transaction) add(r *spill.Record, e entry, now time.Time) error {
	st, err := t.load(r.Key)
	if err != nil {
		return err
	}
	if !st.exists {
		st.Strand = record.Begin(r.Key, t.owner.Log, now)
	}
	admitted, err := st.Admits(t.owner, r.Message.Offset)
	if err != nil || !admitted {
		return err
	}
	k := record.WithOffset(slices.Clip(st.name), r.Message.Offset)
	if t.records.Get(k) != nil {
		return nil
	}
	if err := t.records.Put(k, e.bytes); err != nil {
		return err
	}
	st.Add(r, e.size)
	st.exists, st.changed = true, true
	return nil
}

// mark deletes the records through m and changes the strand.
func (t *transaction) mark(m spill.Mark) error {
	st, err := t.load(m.Key)
	if err != nil || !st.exists {
		return err
	}
	keys, size, err := t.through(st, m.Through)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := t.records.Delete(k); err != nil {
			return err
		}
	}
	before := st.Strand
	removed, err := st.Apply(m, int64(len(keys)), size)
	if err != nil {
		return err
	}
	if removed {
		k, _ := t.records.Cursor().Seek(st.name)
		if hasPrefix(k, st.name) {
			return unreadable(fmt.Sprintf("key %.100q", m.Key), errors.New("it counts no records and has some"))
		}
		st.exists = false
	}
	st.changed = st.changed || removed || st.Strand != before
	return nil
}

// through returns the keys of the records through this offset, and the size of their messages. A cursor that deletes may skip.
func (t *transaction) through(st *loaded, offset int64) (keys [][]byte, size int64, err error) {
	c := t.records.Cursor()
	for k, v := c.Seek(st.name); hasPrefix(k, st.name); k, v = c.Next() {
		at, ok := record.OffsetOf(st.name, k)
		if !ok {
			return nil, 0, unreadable(position(st.Key, st.name, k), record.ErrCorrupt)
		}
		if at > offset {
			break
		}
		n, err := record.Size(v)
		if err != nil {
			return nil, 0, unreadable(position(st.Key, st.name, k), err)
		}
		keys = append(keys, k)
		size += n
	}
	return keys, size, nil
}

// load returns the strand of a key, as this transaction has changed it.
func (t *transaction) load(key string) (*loaded, error) {
	if st := t.loaded[key]; st != nil {
		return st, nil
	}
	st := &loaded{name: record.KeyOf(nil, t.partition, key)}
	var err error
	if st.Strand, st.exists, err = load(t.strands, st.name, key); err != nil {
		return nil, err
	}
	t.loaded[key] = st
	return st, nil
}

// finish writes the strands that changed. It returns errNothing if none did.
func (t *transaction) finish() error {
	nothing := errNothing
	for _, st := range t.loaded {
		switch {
		case !st.changed:
			continue
		case st.exists:
			if err := t.strands.Put(st.name, st.Append(nil)); err != nil {
				return err
			}
		default:
			if err := t.strands.Delete(st.name); err != nil {
				return err
			}
		}
		nothing = nil
	}
	return nothing
}

// load reads a strand and reports whether there is one.
func load(strands *bbolt.Bucket, name []byte, key string) (record.Strand, bool, error) {
	b := strands.Get(name)
	if b == nil {
		return record.Strand{}, false, nil
	}
	st, err := record.DecodeStrand(b)
	if err == nil && st.Key != key {
		err = fmt.Errorf("it is the strand of %.100q: %w", st.Key, record.ErrCorrupt)
	}
	if err != nil {
		return record.Strand{}, false, unreadable(fmt.Sprintf("the strand of key %.100q", key), err)
	}
	return st, true, nil
}
