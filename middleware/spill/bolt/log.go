package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// ownership is a spill.Log.
type ownership struct {
	store  *Store
	file   *file
	owner  spill.Owner
	name   []byte       // of the partition, in the bucket of owners
	last   record.Owner // as Open has stored it
	closed atomic.Bool
}

// Append implements spill.Log. It is one transaction.
func (l *ownership) Append(ctx context.Context, rs []spill.Record) error {
	if len(rs) == 0 {
		return l.error("append", l.usable(ctx))
	}
	encoded := make([]entry, len(rs))
	for i := range rs {
		e, err := encode(l, &rs[i])
		if err != nil {
			return l.error("append", &spill.RecordError{Record: i, Err: err})
		}
		encoded[i] = e
	}
	return l.error("append", l.write(ctx, func(t *transaction) error {
		now := time.Now()
		for i := range rs {
			if err := t.add(&rs[i], encoded[i], now); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Read implements spill.Log.
func (l *ownership) Read(ctx context.Context, key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
	if err := l.usable(ctx); err != nil {
		return nil, l.error("read", err)
	}
	var ms []keystrand.Message
	err := l.file.view(func(tx *bbolt.Tx) error {
		if err := l.owns(tx); err != nil {
			return err
		}
		var err error
		ms, err = l.read(tx, key, after, limit)
		return err
	})
	if err != nil {
		return nil, l.error("read", err)
	}
	return ms, nil
}

func (l *ownership) read(tx *bbolt.Tx, key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
	name := record.KeyOf(nil, l.last.Partition, key)
	st, ok, err := load(tx.Bucket(strandsBucket), name, key)
	if err != nil || !ok || after == math.MaxInt64 {
		return nil, err
	}
	var ms []keystrand.Message
	var got spill.Size
	c := tx.Bucket(recordsBucket).Cursor()
	for k, v := c.Seek(record.WithOffset(bytes.Clone(name), after+1)); hasPrefix(k, name); k, v = c.Next() {
		size, err := record.Size(v)
		if err != nil {
			return nil, unreadable(position(key, name, k), err)
		}
		if limit.Full(got, int(size)) {
			return ms, nil
		}
		m, err := record.Decode(bytes.Clone(v)) // v belongs to the file
		if offset, ok := record.OffsetOf(name, k); err == nil && (!ok || offset != m.Offset) {
			err = record.ErrCorrupt
		}
		if err != nil {
			return nil, unreadable(position(key, name, k), err)
		}
		m.Stream, m.Partition, m.Epoch = l.owner.Stream, l.owner.Partition, l.owner.Epoch
		ms = append(ms, m)
		got.Messages++
		got.Bytes += int(size)
	}
	if after <= st.Mark && int64(len(ms)) != st.Records {
		return nil, unreadable(fmt.Sprintf("key %.100q", key), fmt.Errorf("it counts %d records and has %d", st.Records, len(ms)))
	}
	return ms, nil
}

// Save implements spill.Log. It is one transaction.
func (l *ownership) Save(ctx context.Context, ms []spill.Mark) error {
	if len(ms) == 0 {
		return l.error("save", l.usable(ctx))
	}
	return l.error("save", l.write(ctx, func(t *transaction) error {
		for i := range ms {
			if err := t.mark(ms[i]); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Close implements spill.Log.
func (l *ownership) Close() error {
	if l.closed.Swap(true) {
		return l.error("close the log again", spill.ErrClosed)
	}
	return nil
}

// write runs a transaction of the owner.
func (l *ownership) write(ctx context.Context, run func(t *transaction) error) error {
	if err := l.usable(ctx); err != nil {
		return err
	}
	if err := l.store.acquire(ctx); err != nil {
		return err
	}
	defer l.store.release()
	return l.file.update(func(tx *bbolt.Tx) error {
		if err := l.owns(tx); err != nil {
			return err
		}
		t := &transaction{
			owner: l.owner, partition: l.last.Partition, strands: tx.Bucket(strandsBucket), records: tx.Bucket(recordsBucket),
			loaded: make(map[string]*loaded),
		}
		if err := run(t); err != nil {
			return err
		}
		return t.finish()
	})
}

// usable returns an error if the log is closed or ctx has ended.
func (l *ownership) usable(ctx context.Context) error {
	if l.closed.Load() {
		return spill.ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// owns returns ErrFenced after a later Open.
func (l *ownership) owns(tx *bbolt.Tx) error {
	last, err := record.DecodeOwner(tx.Bucket(ownersBucket).Get(l.name))
	if err != nil {
		return unreadable("its owner", err)
	}
	if last.Claim != l.last.Claim {
		return fmt.Errorf("epoch %d was followed by epoch %d: %w", l.owner.Epoch, last.Epoch, commit.ErrFenced)
	}
	return nil
}

func (l *ownership) error(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bolt: %s: %s/%d: file %s: %w", op, l.owner.Stream, l.owner.Partition, l.store.path, err)
}

// partitionKey returns the name of a partition in the bucket of owners.
func partitionKey(o spill.Owner) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(o.Partition)), o.Stream...) // the bits are a name
}

// position names a record for an error.
func position(key string, name, k []byte) string {
	offset, _ := record.OffsetOf(name, k)
	return fmt.Sprintf("key %.100q offset %d", key, offset)
}
