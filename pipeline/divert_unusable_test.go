package pipeline_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
)

// busy is a play with a hot key and a held one.
func busy(t *testing.T) *play {
	t.Helper()
	pl := newPlay(t)
	pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 8}) }
	pl.put("bad!", "bad")
	pl.put(slices.Repeat([]string{"hot", "cold"}, 40)...)
	return pl
}

// finish runs a process until everything is handled.
func (pl *play) finish() {
	pl.t.Helper()
	p := pl.process()
	for range 30 {
		time.Sleep(time.Second)
		p.operate()
	}
	_, end := pl.log.Bounds(0)
	if s := p.part(pl.t, 0); s.Committed != end || s.Diverting.Strands != 0 {
		pl.t.Errorf("not all is handled: %+v", s)
	}
	if err := p.stop(); err != nil {
		pl.t.Error(err)
	}
	pl.check()
}

func TestRunReturnsTheErrorOfAStoreThatIsUnusable(t *testing.T) { // seed 33
	for _, op := range []memory.Op{memory.Open, memory.Append, memory.Read, memory.Save} {
		t.Run(op.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := busy(t)
				pl.strike = func(_ int, c memory.Call) error {
					if c.Op == op && !c.Stored {
						return fmt.Errorf("a table is missing: create it: %w", spill.ErrUnusable)
					}
					return nil
				}
				began := time.Now()
				err := pl.process().wait()
				if !errors.Is(err, spill.ErrUnusable) || !strings.Contains(err.Error(), "posts/0") || !strings.Contains(err.Error(), "create it") {
					t.Errorf("Run = %v, want an error that names the partition and what to do", err)
				}
				if took := time.Since(began); took > 25*time.Second {
					t.Errorf("Run returned after %v", took)
				}
				pl.ended()
				pl.strike = nil
				pl.finish()
				pl.checkReplays(25 * time.Second)
			})
		})
	}
}

func TestStoreThatFencesThePartitionLosesIt(t *testing.T) { // seed 33
	for _, op := range []memory.Op{memory.Open, memory.Append, memory.Read, memory.Save} {
		t.Run(op.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := busy(t)
				var out buffer
				build := pl.build
				pl.build = func(b *pipeline.Builder) {
					build(b)
					b.Logger(out.logger())
				}
				var mu sync.Mutex
				var at time.Time
				pl.strike = func(_ int, c memory.Call) error {
					mu.Lock()
					defer mu.Unlock()
					switch {
					case at.IsZero() && c.Op == op && !c.Stored:
						at = time.Now()
						pl.ended()
						return fmt.Errorf("epoch 1: %w", commit.ErrFenced)
					case c.Op == memory.Open && c.Owner.Epoch == 2 && time.Since(at) > 0:
						t.Errorf("the partition is opened again %v later, want at once", time.Since(at))
					}
					return nil
				}
				p := pl.process()
				time.Sleep(5 * time.Second)
				mu.Lock()
				fenced := at
				mu.Unlock()
				if id := p.part(t, 0).ID; fenced.IsZero() || id.Epoch != 2 {
					t.Errorf("fenced at %v, then %v; want epoch 2", fenced, id)
				}
				out.wantLine(t, 1, "partition lost: a newer owner has it", "level=WARN .*posts.*epoch 1")
				if err := p.stop(); err != nil {
					t.Errorf("Run = %v, want nil", err)
				}
				pl.strike = nil
				pl.finish()
				pl.checkReplays(time.Second)
			})
		})
	}
}

// A file that cannot be used is an error of Run, which names it. Nothing is skipped: once it is mended all messages are handled.
func TestRunReturnsTheErrorOfAFileThatCannotBeUsed(t *testing.T) { // seed 33
	for _, c := range []struct {
		name, says string
		spoil      func(t *testing.T, path string) (mend func())
	}{
		{"used by another process", "another process", func(t *testing.T, path string) func() {
			t.Helper()
			s := openBolt(t, path)
			if _, _, err := s.Open(t.Context(), spill.Owner{Stream: "elsewhere"}); err != nil {
				t.Fatal(err)
			}
			return func() { _ = s.Close() }
		}},
		{"of a newer version", "version", func(t *testing.T, path string) func() {
			t.Helper()
			return spoil(t, path, func() {
				db, err := bbolt.Open(path, 0o600, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := db.Update(func(tx *bbolt.Tx) error {
					b := tx.Bucket([]byte("keystrand.spill"))
					return b.Put([]byte("layout"), append([]byte{99}, b.Get([]byte("layout"))[1:]...))
				}); err != nil {
					t.Fatal(err)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}},
		{"corrupt", "", func(t *testing.T, path string) func() {
			t.Helper()
			return spoil(t, path, func() {
				if err := os.WriteFile(path, []byte(strings.Repeat("not a store ", 4096)), 0o600); err != nil {
					t.Fatal(err)
				}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "keys.bolt")
				pl := busy(t)
				run := func() (*process, func()) {
					s := openBolt(t, path)
					pl.kept = s
					return pl.process(), func() { _ = s.Close() }
				}
				p, closeStore := run()
				time.Sleep(3 * time.Second)
				if err := p.stop(); err != nil {
					t.Fatal(err)
				}
				closeStore()
				committed := pl.log.Group("").Committed(0).Frontier

				mend := c.spoil(t, path)
				p, closeStore = run()
				err := p.wait()
				closeStore()
				if !errors.Is(err, spill.ErrUnusable) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "posts/0") || !strings.Contains(err.Error(), c.says) {
					t.Errorf("Run = %v, want an error that names the file, the partition and %q", err, c.says)
				}
				if now := pl.log.Group("").Committed(0).Frontier; now != committed {
					t.Errorf("committed %d, was %d before the store was opened", now, committed)
				}
				mend()
				s := openBolt(t, path)
				defer func() {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}()
				pl.kept = s
				pl.finish()
			})
		})
	}
}

func openBolt(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.New(path, bolt.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spoil changes a file with f and returns what restores it.
func spoil(t *testing.T, path string, f func()) (mend func()) {
	t.Helper()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f()
	return func() {
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
