package bolt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
)

var owner = spill.Owner{Stream: "orders", Partition: 3, Epoch: 1}

// newFile makes a file with 20 records of each of 10 keys and returns its path.
func newFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spill.db")
	s, l := open(t, path)
	var rs []spill.Record
	for i := range int64(200) {
		rs = append(rs, spill.Record{Key: fmt.Sprint("key-", i%10), Message: message(i)})
	}
	if err := l.Append(t.Context(), rs); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func message(i int64) keystrand.Message {
	return keystrand.Message{Stream: "orders", Partition: 3, Offset: i, Value: bytes.Repeat([]byte{byte(i)}, 300)}
}

func open(t *testing.T, path string) (*bolt.Store, spill.Log) {
	t.Helper()
	s, err := bolt.New(path, bolt.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := s.Open(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// tryOpen returns the error of the first Open of a file, and fails t if it does not name file and partition.
func tryOpen(t *testing.T, path string, cfg bolt.Config) error {
	t.Helper()
	s, err := bolt.New(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := s.Open(t.Context(), owner)
	if err == nil {
		_ = l.Close()
	} else {
		for _, want := range []string{path, "orders/3"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error does not name %s: %v", want, err)
			}
		}
	}
	if cerr := s.Close(); cerr != nil && err == nil {
		t.Errorf("Close: %v", cerr)
	}
	return err
}

// edit changes a file with bbolt.
func edit(t *testing.T, path string, change func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestFileThatCannotBeUsedIsAnErrorThatSaysWhatToDo(t *testing.T) {
	first := func(b *bbolt.Bucket) (k, v []byte) {
		k, v = b.Cursor().First()
		return bytes.Clone(k), bytes.Clone(v)
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, path string) string // returns the path to open
		want   string
	}{
		"another store of this process": {func(t *testing.T, path string) string {
			t.Helper()
			s, l := open(t, path)
			t.Cleanup(func() { _ = errors.Join(l.Close(), s.Close()) })
			return path
		}, "another process"},
		"a newer layout": {func(t *testing.T, path string) string {
			t.Helper()
			edit(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("keystrand.spill")).Put([]byte("layout"), binary.BigEndian.AppendUint32(nil, 2))
			})
			return path
		}, "newer version"},
		"a newer strand": {func(t *testing.T, path string) string {
			t.Helper()
			edit(t, path, func(tx *bbolt.Tx) error {
				k, v := first(tx.Bucket([]byte("strands")))
				v[0]++
				return tx.Bucket([]byte("strands")).Put(k, v)
			})
			return path
		}, "newer version"},
		"a damaged strand": {func(t *testing.T, path string) string {
			t.Helper()
			edit(t, path, func(tx *bbolt.Tx) error {
				k, v := first(tx.Bucket([]byte("strands")))
				v[len(v)-1]++
				return tx.Bucket([]byte("strands")).Put(k, v)
			})
			return path
		}, "backup"},
		"a damaged owner": {func(t *testing.T, path string) string {
			t.Helper()
			edit(t, path, func(tx *bbolt.Tx) error {
				k, _ := first(tx.Bucket([]byte("owners")))
				return tx.Bucket([]byte("owners")).Put(k, nil)
			})
			return path
		}, "backup"},
		"a bucket missing": {func(t *testing.T, path string) string {
			t.Helper()
			edit(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("records")) })
			return path
		}, "backup"},
		"another program": {func(t *testing.T, _ string) string {
			t.Helper()
			path := filepath.Join(t.TempDir(), "other.db")
			edit(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
			return path
		}, "another program"},
		"no bbolt file": {func(t *testing.T, _ string) string {
			t.Helper()
			path := filepath.Join(t.TempDir(), "text")
			if err := os.WriteFile(path, bytes.Repeat([]byte("text\n"), 10_000), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "backup"},
		"a short file": {func(t *testing.T, _ string) string {
			t.Helper()
			path := filepath.Join(t.TempDir(), "text")
			if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "backup"},
		"no folder": {func(_ *testing.T, path string) string { return filepath.Join(filepath.Dir(path), "none", "spill.db") }, "create its folder"},
		"a folder":  {func(_ *testing.T, path string) string { return filepath.Dir(path) }, "name a file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := c.change(t, newFile(t))
			err := tryOpen(t, path, bolt.Config{LockTimeout: 1})
			if !errors.Is(err, spill.ErrUnusable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open = %v, want ErrUnusable with %q", err, c.want)
			}
		})
	}
}

// A file that was cut, as by a copy that was interrupted, must not open: records would be missing, or reads end the process.
func TestFileThatWasCutIsAnError(t *testing.T) {
	path := newFile(t)
	s, l := open(t, path)
	large := message(1000)
	large.Value = make([]byte, 100_000) // at the end of the file, where Open does not read
	for _, m := range []keystrand.Message{large, message(1001), message(1002)} {
		if err := l.Append(t.Context(), []spill.Record{{Key: "key-1", Message: m}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var end int64
	edit(t, path, func(tx *bbolt.Tx) error { end = tx.Size(); return nil })
	for size := int64(1); size < end-4096; size += 2048 {
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := tryOpen(t, path, bolt.Config{LockTimeout: 1}); !errors.Is(err, spill.ErrUnusable) {
			t.Fatalf("Open of %d bytes of %d = %v, want ErrUnusable", size, end, err)
		} else if strings.Contains(err.Error(), "another process") {
			t.Fatalf("Open of %d bytes of %d found the file locked by the Open before: %v", size, end, err)
		}
	}
}

// Damaged bytes of what has a sum, which are the first two pages and the records, either do not matter or are an error: what is
// read is what was written, and all of it. The other pages have none: bbolt may do anything with them, and may end the process.
func TestDamagedBytesAreNeverReadAsRecords(t *testing.T) {
	path := newFile(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var summed []int // offsets of bytes that have a sum
	for at := range whole {
		inValue := at%4096 >= 16 && whole[at] != 0 && bytes.Equal(whole[at-16:at], bytes.Repeat(whole[at:at+1], 16))
		if at < 2*4096 || inValue {
			summed = append(summed, at)
		}
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	failed := 0
	for range 200 {
		b := bytes.Clone(whole)
		at := summed[rnd.IntN(len(summed))]
		if rnd.IntN(4) == 0 {
			at = rnd.IntN(2)*4096 + rnd.IntN(80) // the head and the meta of a page
		}
		b[at] ^= byte(1 + rnd.IntN(255))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readAll(t.Context(), path); err != nil {
			if !errors.Is(err, spill.ErrUnusable) {
				t.Fatalf("seed %d: byte %d: %v", seed, at, err)
			}
			failed++
		}
	}
	if failed < 50 {
		t.Errorf("seed %d: %d of 200 damaged files were refused, want most", seed, failed)
	}
}

// readAll returns an error that wraps ErrUnusable if the store refuses the file, and another one if it returns wrong records.
func readAll(ctx context.Context, path string) (err error) {
	s, err := bolt.New(path, bolt.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	l, strands, err := s.Open(ctx, owner)
	if err != nil {
		return err
	}
	if len(strands) != 10 {
		return fmt.Errorf("%d strands", len(strands))
	}
	for _, st := range strands {
		ms, err := l.Read(ctx, st.Key, -1, spill.Size{})
		if err != nil {
			return err
		}
		if len(ms) != 20 {
			return fmt.Errorf("%d records", len(ms))
		}
		for i := range ms {
			want := message(ms[i].Offset)
			if fmt.Sprint("key-", ms[i].Offset%10) != st.Key || !bytes.Equal(ms[i].Value, want.Value) {
				return fmt.Errorf("strand %q has the record %d with another value", st.Key, ms[i].Offset)
			}
		}
	}
	return nil
}

func TestOpenWaitsForTheProcessBefore(t *testing.T) {
	path := newFile(t)
	before, l := open(t, path)
	s, err := bolt.New(path, bolt.Config{LockTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errEnded)
	if _, _, err := s.Open(ended, owner); !errors.Is(err, errEnded) {
		t.Errorf("Open with a ctx that has ended = %v, want its cause", err)
	}
	waiting, stop := context.WithTimeoutCause(t.Context(), time.Millisecond, errEnded)
	defer stop()
	if _, _, err := s.Open(waiting, owner); !errors.Is(err, errEnded) {
		t.Errorf("Open with a ctx that ends = %v, want its cause", err)
	}
	opened := make(chan error)
	go func() {
		next, _, err := s.Open(t.Context(), owner)
		if err == nil {
			err = errors.Join(next.Close(), s.Close())
		}
		opened <- err
	}()
	if err := errors.Join(l.Close(), before.Close()); err != nil {
		t.Error(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("Open after the file was closed: %v", err)
	}
}

// A call that waits for the writer of another partition ends with its ctx.
func TestCallsThatWaitForTheFileEndWithTheirContext(t *testing.T) {
	s, l := open(t, newFile(t))
	release := bolt.Hold(s)
	waiting, stop := context.WithTimeoutCause(t.Context(), time.Millisecond, errEnded)
	defer stop()
	_, _, openErr := s.Open(waiting, owner)
	for what, err := range map[string]error{
		"Append": l.Append(waiting, []spill.Record{{Key: "k", Message: message(1000)}}),
		"Save":   l.Save(waiting, []spill.Mark{{Key: "key-1", Through: 1}}),
		"Open":   openErr,
	} {
		if !errors.Is(err, errEnded) {
			t.Errorf("%s = %v, want the cause of its ctx", what, err)
		}
	}
	release()
	if err := errors.Join(l.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Open(t.Context(), owner); !errors.Is(err, spill.ErrClosed) || errors.Is(err, commit.ErrFenced) {
		t.Errorf("Open of a closed store = %v, want ErrClosed", err)
	}
}

func TestNewReturnsAllMistakes(t *testing.T) {
	_, err := bolt.New("", bolt.Config{LockTimeout: -1})
	if err == nil || strings.Count(err.Error(), "bolt: ") != 2 {
		t.Errorf("New = %v, want two errors", err)
	}
}

var errEnded = errors.New("the test ended this ctx")
