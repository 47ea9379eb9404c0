package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// ownership is a spill.Log.
type ownership struct {
	store     *Store
	owner     spill.Owner
	partition *partition
	claim     int64
	closed    bool // guarded by Store.mu
}

// stored is a record as it is kept.
type stored struct {
	message keystrand.Message
	size    int64
}

// Append implements spill.Log.
func (l *ownership) Append(ctx context.Context, rs []spill.Record) error {
	c := Call{Op: Append, Owner: l.owner, Records: rs}
	failed := l.store.ask(ctx, c)
	kept := make([]stored, part(failed, len(rs)))
	for i := range kept {
		m, err := spill.AsStored(&rs[i].Message)
		if err == nil {
			err = record.Check(l.owner, &rs[i])
		}
		if err != nil {
			return l.error(Append, &spill.RecordError{Record: i, Err: err})
		}
		kept[i] = stored{message: m, size: int64(m.Size())}
	}
	if err := l.append(rs, kept); err != nil {
		return l.error(Append, err)
	}
	if failed == nil {
		c.Stored = true
		failed = l.store.ask(ctx, c)
	}
	return l.error(Append, failed)
}

// append stores the first records, all those in kept.
func (l *ownership) append(rs []spill.Record, kept []stored) error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if err := l.checkLocked(); err != nil {
		return err
	}
	now := time.Now()
	for i := range kept { // all or none: a foreign strand refuses the call before anything is stored
		if st := l.partition.strands[rs[i].Key]; st != nil {
			if _, err := st.Admits(l.owner, rs[i].Message.Offset); err != nil {
				return err
			}
		}
	}
	for i := range kept {
		r := &rs[i]
		st := l.partition.strands[r.Key]
		if st == nil {
			st = &strand{Strand: record.Begin(r.Key, l.owner.Log, now)}
			l.partition.strands[r.Key] = st
		}
		at, found := st.find(r.Message.Offset)
		if found || r.Message.Offset <= st.Mark {
			continue
		}
		st.records = slices.Insert(st.records, at, kept[i])
		st.Add(r, kept[i].size)
	}
	return nil
}

// Read implements spill.Log.
func (l *ownership) Read(ctx context.Context, key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
	c := Call{Op: Read, Owner: l.owner, Key: key}
	if err := l.store.ask(ctx, c); err != nil {
		return nil, l.error(Read, err)
	}
	ms, err := l.read(key, after, limit)
	if err != nil {
		return nil, l.error(Read, err)
	}
	c.Stored = true
	if err := l.store.ask(ctx, c); err != nil {
		return nil, l.error(Read, err)
	}
	return ms, nil
}

func (l *ownership) read(key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if err := l.checkLocked(); err != nil {
		return nil, err
	}
	st := l.partition.strands[key]
	if st == nil {
		return nil, nil
	}
	var ms []keystrand.Message
	var got spill.Size
	at, found := st.find(after)
	if found {
		at++
	}
	for _, r := range st.records[at:] {
		if limit.Full(got, int(r.size)) {
			break
		}
		m := r.message
		m.Headers = slices.Clone(m.Headers)
		m.Epoch = l.owner.Epoch
		ms = append(ms, m)
		got.Messages++
		got.Bytes += int(r.size)
	}
	return ms, nil
}

// Save implements spill.Log.
func (l *ownership) Save(ctx context.Context, ms []spill.Mark) error {
	c := Call{Op: Save, Owner: l.owner, Marks: ms}
	failed := l.store.ask(ctx, c)
	if err := l.save(ms[:part(failed, len(ms))]); err != nil {
		return l.error(Save, err)
	}
	if failed == nil {
		c.Stored = true
		failed = l.store.ask(ctx, c)
	}
	return l.error(Save, failed)
}

func (l *ownership) save(ms []spill.Mark) error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if err := l.checkLocked(); err != nil {
		return err
	}
	changed := make(map[string]*strand, len(ms)) // nil: removed
	for _, m := range ms {
		st, ok := changed[m.Key]
		if old := l.partition.strands[m.Key]; !ok && old != nil {
			copied := *old
			st = &copied
		}
		if st == nil {
			continue
		}
		removed, err := st.apply(m)
		if err != nil {
			return err
		}
		changed[m.Key] = st
		if removed {
			changed[m.Key] = nil
		}
	}
	for key, st := range changed {
		if st == nil {
			delete(l.partition.strands, key)
		} else {
			l.partition.strands[key] = st
		}
	}
	return nil
}

// Close implements spill.Log.
func (l *ownership) Close() error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.closed {
		return fmt.Errorf("memory: close the log of %s/%d again: %w", l.owner.Stream, l.owner.Partition, spill.ErrClosed)
	}
	l.closed = true
	l.store.logs--
	return nil
}

func (l *ownership) checkLocked() error {
	if l.closed {
		return spill.ErrClosed
	}
	if l.claim != l.partition.claim {
		return fmt.Errorf("epoch %d: %w", l.owner.Epoch, commit.ErrFenced)
	}
	return nil
}

func (l *ownership) error(op Op, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("memory: %s: %s/%d: %w", op, l.owner.Stream, l.owner.Partition, err)
}

// find returns where the record with this offset is, or belongs.
func (st *strand) find(offset int64) (int, bool) {
	return slices.BinarySearchFunc(st.records, offset, func(r stored, o int64) int { return cmp.Compare(r.message.Offset, o) })
}

// apply does what m says. It changes no record in place.
func (st *strand) apply(m spill.Mark) (removed bool, err error) {
	n, found := st.find(m.Through)
	if found {
		n++
	}
	var bytes int64
	for _, r := range st.records[:n] {
		bytes += r.size
	}
	st.records = st.records[n:]
	return st.Apply(m, int64(n), bytes)
}
