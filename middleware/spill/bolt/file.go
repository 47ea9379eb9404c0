package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// layout is the version of the buckets below. The forms in them have versions of their own.
const layout = 1

// The buckets of a file.
//
//   - spill: its layout.
//   - owners: stream and partition; the last owner of it.
//   - strands: partition and key of the strand; the strand with its counts.
//   - records: partition, key and offset; the message.
var (
	layoutBucket  = []byte("keystrand.spill") //nolint:gochecknoglobals // immutable
	ownersBucket  = []byte("owners")          //nolint:gochecknoglobals // immutable
	strandsBucket = []byte("strands")         //nolint:gochecknoglobals // immutable
	recordsBucket = []byte("records")         //nolint:gochecknoglobals // immutable
	layoutKey     = []byte("layout")          //nolint:gochecknoglobals // immutable
)

// file is an open file of bbolt. Reads run at any time, update from the holder of Store.slot.
type file struct {
	db     *bbolt.DB
	handle *os.File              // the file of db; it has the lock
	broken atomic.Pointer[error] // why the file cannot be used any more
	unsure bool                  // the last commit failed: what a read sees may not be on the disk; guarded by Store.slot
}

// openFile opens the file, and creates it if there is none. It waits for a process that uses it.
func openFile(ctx context.Context, path string, lockTimeout time.Duration) (*file, error) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for end := time.Now().Add(lockTimeout); ; {
		var f *file
		err := makeFile(path)
		if err == nil {
			f, err = openOnce(path)
		}
		if !errors.Is(err, bolterrors.ErrTimeout) {
			return f, err
		}
		if !time.Now().Before(end) {
			return nil, fmt.Errorf("another process, or another store of this one, uses the file, still after %v: end it, or give this one a file of its own: %w",
				lockTimeout, spill.ErrUnusable)
		}
		wait.Reset(min(20*time.Millisecond, time.Until(end)))
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another process that uses the file: %w", context.Cause(ctx))
		}
	}
}

// makeFile makes the file if there is none. A file at path is always whole, also after a kill or while the disk is full: bbolt
// makes it under another name. It returns ErrTimeout of bbolt if another process makes the file at the same time.
func makeFile(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // openOnce explains other errors
	}
	dir, begin := filepath.Dir(path), filepath.Base(path)+".new-"
	names, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrPermission) { // a folder may be writable only
		return explain(err)
	}
	for _, left := range names { // by a kill
		if strings.HasPrefix(left.Name(), begin) {
			_ = os.Remove(filepath.Join(dir, left.Name()))
		}
	}
	made, err := os.CreateTemp(dir, begin)
	if err != nil {
		return explain(err)
	}
	defer func() { _ = os.Remove(made.Name()) }()
	f := &file{}
	if err = made.Close(); err == nil {
		f, err = openOnce(made.Name())
	}
	if err == nil {
		err = f.close()
	}
	if err != nil {
		return err
	}
	err = os.Link(made.Name(), path) // a rename would replace the file of another process
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bolterrors.ErrTimeout // another process has removed it, as left by a kill
	case errors.Is(err, fs.ErrExist), errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrPermission):
		return nil // where files have one name, openOnce makes it
	}
	return err
}

// openOnce returns ErrTimeout of bbolt if the file is in use.
func openOnce(path string) (*file, error) {
	f := &file{}
	var size int64
	opts := &bbolt.Options{
		Timeout: 1, // one try
		// Without the list of free pages in the file, opening would read all of the file.
		NoFreelistSync: false,
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			if f.handle, err = os.OpenFile(name, flag, mode); err == nil {
				var info fs.FileInfo
				if info, err = f.handle.Stat(); err == nil {
					size = info.Size()
				}
			}
			return f.handle, err
		},
	}
	err := f.guard(func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, opts)
		return explain(err)
	})
	if err == nil {
		err = f.check(size)
	}
	if err == nil {
		err = syncFolder(path) // the process that made the file may have been killed before
	}
	if err == nil {
		return f, nil
	}
	if f.handle != nil {
		_ = f.close() // err says more
	}
	return nil, err
}

// check looks at the size and the layout of the file, and makes the buckets of a new one.
func (f *file) check(size int64) error {
	if err := checkPages(f.handle, int64(f.db.Info().PageSize)); err != nil {
		return unreadable("a page", err)
	}
	isNew := false
	err := f.view(func(tx *bbolt.Tx) error {
		if size > 0 && tx.Size() > size {
			return unreadable("the end of the file", fmt.Errorf("it has %d bytes and should have %d", size, tx.Size()))
		}
		b := tx.Bucket(layoutBucket)
		if b == nil {
			if first, _ := tx.Cursor().First(); first != nil {
				return fmt.Errorf("it is a bbolt file of another program, with the bucket %.100q: give this store a file of its own: %w", first, spill.ErrUnusable)
			}
			isNew = true
			return nil
		}
		v := b.Get(layoutKey)
		if len(v) != 4 {
			return unreadable("the layout", record.ErrCorrupt)
		}
		if n := binary.BigEndian.Uint32(v); n != layout {
			return unreadable("the layout", fmt.Errorf("%d, and this version reads %d: %w", n, layout, record.ErrNewer))
		}
		for _, name := range [][]byte{ownersBucket, strandsBucket, recordsBucket} {
			if tx.Bucket(name) == nil {
				return unreadable(fmt.Sprintf("the bucket %q", name), errors.New("it is missing"))
			}
		}
		return nil
	})
	if err != nil || !isNew {
		return err
	}
	return f.update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{layoutBucket, ownersBucket, strandsBucket, recordsBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(layoutBucket).Put(layoutKey, binary.BigEndian.AppendUint32(nil, layout))
	})
}

// syncFolder makes the name of the file durable.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	for _, cannot := range []error{errors.ErrUnsupported, fs.ErrInvalid, fs.ErrPermission, syscall.EINVAL} {
		if errors.Is(err, cannot) {
			return nil // Windows and some file systems cannot sync a folder, and say so in one of these ways
		}
	}
	return err
}

// view runs a transaction that reads.
func (f *file) view(run func(tx *bbolt.Tx) error) error {
	return f.guard(func() error { return f.db.View(run) })
}

// errNothing ends a transaction that has changed nothing, without writing.
var errNothing = errors.New("bolt: nothing changed")

// update runs a transaction that writes, and returns when it is on the disk. run may return errNothing.
func (f *file) update(run func(tx *bbolt.Tx) error) error {
	err := f.guard(func() error {
		tx, err := f.db.Begin(true)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing after a commit
		if err := run(tx); err != nil && (!f.unsure || !errors.Is(err, errNothing)) {
			return err
		}
		f.unsure = true
		if err := tx.Commit(); err != nil {
			return err
		}
		f.unsure = false
		return nil
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// guard runs what reads the file. bbolt panics, or reads behind the end of its map, where the file is damaged: that becomes an
// error, and the file is not used any more.
func (f *file) guard(run func() error) (err error) {
	if broken := f.broken.Load(); broken != nil {
		return *broken
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = unreadable("a page", fmt.Errorf("%v", p))
			f.broken.Store(&err)
		}
	}()
	return run()
}

// close gives back the lock. Where bbolt has failed, its Close may not return.
func (f *file) close() error {
	if f.db == nil || f.broken.Load() != nil {
		return errors.Join(unlock(f.handle), f.handle.Close())
	}
	return f.guard(f.db.Close)
}

// explain says what to do about errors of bbolt that do not heal. Those of the system, such as a full disk, can.
func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, bolterrors.ErrTimeout):
		return err
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%w: name a file in it: %w", err, spill.ErrUnusable)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: create its folder: %w", err, spill.ErrUnusable)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the process needs to read and write it: %w", err, spill.ErrUnusable)
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return err
	}
	return unreadable("the beginning of the file", err)
}

// unreadable returns the error of a part of the file that cannot be read.
func unreadable(part string, err error) error {
	if errors.Is(err, record.ErrNewer) {
		return fmt.Errorf("%s: %w: run that version: %w", part, err, spill.ErrUnusable)
	}
	return fmt.Errorf("%s cannot be read: %w: restore the file from a backup, or move it away, which gives up its messages: %w", part, err, spill.ErrUnusable)
}

func hasPrefix(key, prefix []byte) bool { return key != nil && bytes.HasPrefix(key, prefix) }
