// Package bolt is a store of strands in one file, for one machine. What Append and Save have reported is on the disk: each is
// one transaction of bbolt, which ends with fdatasync. A process that is killed in the middle of one leaves the file as it was
// before it, or after it.
//
//   - One process uses the file at a time. A second one gets an error that names the file.
//   - The file is on a local disk: network file systems do not lock and map files as bbolt needs it.
//   - A file is for one pipeline. Two pipelines that read the same partitions need two files.
//   - Memory does not grow with the records. The time to open grows with the keys that have records, not with the records.
//   - The file does not shrink. Space of records that were handled is used again. To get it back, delete the file while no
//     process uses it and no key is diverted.
//
// Damaged records and strands, and most damaged pages, are errors. bbolt has no sums of its pages, and trusts them: damage there
// can hide a strand until the file is restored, or end the process.
//
// The store cannot be used where partitions move between machines: their records would stay behind.
package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// Config has the settings of a Store. The zero value is ready to use.
type Config struct {
	// LockTimeout is how long Open waits for a process that uses the file, such as the one before a restart. Default: 5 s.
	LockTimeout time.Duration
}

// Store keeps strands in a file. It is safe for concurrent use.
type Store struct {
	path string
	cfg  Config

	// slot is held by what writes, and while the file is opened or closed: bbolt has one writer at a time, and waits for it
	// without a ctx. It is a channel, because it is held over I/O.
	slot   chan struct{}
	file   *file // nil until the first Open; guarded by slot
	closed bool  // guarded by slot
}

var _ spill.Store = (*Store)(nil)

// New returns a store in the file at path. The first Open opens the file, and creates it if there is none; its folder must exist.
func New(path string, cfg Config) (*Store, error) {
	var errs []error
	if path == "" {
		errs = append(errs, errors.New("bolt: the path of the file is empty"))
	}
	if cfg.LockTimeout < 0 {
		errs = append(errs, fmt.Errorf("bolt: Config.LockTimeout is negative: %v", cfg.LockTimeout))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if cfg.LockTimeout == 0 {
		cfg.LockTimeout = 5 * time.Second
	}
	return &Store{path: path, cfg: cfg, slot: make(chan struct{}, 1)}, nil
}

// Shared implements spill.Store. It is false: the file is on one machine.
func (s *Store) Shared() bool { return false }

// Open implements spill.Store.
func (s *Store) Open(ctx context.Context, o spill.Owner) (spill.Log, []spill.Strand, error) {
	l, strands, err := s.open(ctx, o)
	if err != nil {
		return nil, nil, fmt.Errorf("bolt: open %s/%d: file %s: %w", o.Stream, o.Partition, s.path, err)
	}
	return l, strands, nil
}

func (s *Store) open(ctx context.Context, o spill.Owner) (spill.Log, []spill.Strand, error) {
	if err := s.acquire(ctx); err != nil {
		return nil, nil, err
	}
	defer s.release()
	if s.closed {
		return nil, nil, spill.ErrClosed
	}
	if s.file == nil {
		f, err := openFile(ctx, s.path, s.cfg.LockTimeout)
		if err != nil {
			return nil, nil, err
		}
		s.file = f
	}
	l := &ownership{store: s, file: s.file, owner: o, name: partitionKey(o)}
	var strands []spill.Strand
	err := s.file.update(func(tx *bbolt.Tx) error {
		strands = nil
		return l.claim(tx, &strands)
	})
	if err != nil {
		return nil, nil, err
	}
	return l, strands, nil
}

// Close implements spill.Store.
func (s *Store) Close() error {
	s.slot <- struct{}{} // calls have returned, or are about to
	defer s.release()
	if s.closed {
		return fmt.Errorf("bolt: close %s again: %w", s.path, spill.ErrClosed)
	}
	s.closed = true
	if s.file == nil {
		return nil
	}
	if err := s.file.close(); err != nil {
		return fmt.Errorf("bolt: close %s: %w", s.path, err)
	}
	return nil
}

// acquire waits for the slot.
func (s *Store) acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case s.slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) release() { <-s.slot }

// claim makes l the last owner of its partition and adds its strands.
func (l *ownership) claim(tx *bbolt.Tx, strands *[]spill.Strand) error {
	owners := tx.Bucket(ownersBucket)
	var last record.Owner
	if b := owners.Get(l.name); b != nil {
		var err error
		if last, err = record.DecodeOwner(b); err != nil {
			return unreadable("its owner", err)
		}
		if last.Refuses(l.owner) {
			return fmt.Errorf("epoch %d comes after epoch %d: %w", l.owner.Epoch, last.Epoch, commit.ErrFenced)
		}
	} else {
		n, err := owners.NextSequence()
		if err != nil {
			return err
		}
		last.Partition = uint32(n) // a file never sees 4 billion partitions
	}
	last.Claim++
	last.Epoch, last.Log = l.owner.Epoch, l.owner.Log
	l.last = last
	if err := owners.Put(l.name, last.Append(nil)); err != nil {
		return err
	}
	prefix := record.PartitionKey(last.Partition)
	c := tx.Bucket(strandsBucket).Cursor()
	for k, v := c.Seek(prefix); hasPrefix(k, prefix); k, v = c.Next() {
		st, err := record.DecodeStrand(v)
		if err == nil && !bytes.Equal(k, record.KeyOf(nil, last.Partition, st.Key)) {
			err = record.ErrCorrupt
		}
		if err != nil {
			return unreadable(fmt.Sprintf("a strand, %.100q", k), err)
		}
		st.Foreign = st.Log != l.owner.Log
		*strands = append(*strands, st.Strand)
	}
	return nil
}
