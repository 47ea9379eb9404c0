package bolt_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
)

func TestOpenRemovesAFileThatAKillLeftHalfMade(t *testing.T) {
	path := newFile(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path = filepath.Join(dir, "spill.db")
	for _, size := range []int{0, 1, 4096, 8192, 16384} {
		if err := errors.Join(os.WriteFile(path+".new-1", whole[:size], 0o600), os.RemoveAll(path)); err != nil {
			t.Fatal(err)
		}
		if err := tryOpen(t, path, bolt.Config{}); err != nil {
			t.Errorf("a kill after %d bytes: %v", size, err)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
			t.Errorf("a kill after %d bytes: the folder has %v, %v", size, names, err)
		}
	}
}

// The stores have no lock while they make the file: what one reports as durable must not be in a file that another replaces.
func TestStoresThatMakeTheFileAtTheSameTimeUseOne(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "spill.db")
		var mu sync.Mutex
		var wg sync.WaitGroup
		var closes []func() error
		for range 8 {
			wg.Go(func() {
				s, err := bolt.New(path, bolt.Config{LockTimeout: 1})
				if err != nil {
					t.Error(err)
					return
				}
				l, _, err := s.Open(t.Context(), owner)
				mu.Lock()
				defer mu.Unlock()
				closes = append(closes, s.Close)
				if err != nil {
					if !errors.Is(err, spill.ErrUnusable) {
						t.Error(err)
					}
					return
				}
				closes = append(closes, l.Close)
				if err := l.Append(t.Context(), []spill.Record{{Key: "a", Message: message(1)}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := len(closes) - 1; i >= 0; i-- {
			if err := closes[i](); err != nil {
				t.Error(err)
			}
		}
		if len(closes) != 9 {
			t.Fatalf("%d of 8 stores use the file, want 1", len(closes)-8)
		}
		s, l := open(t, path)
		if ms, err := l.Read(t.Context(), "a", -1, spill.Size{}); err != nil || len(ms) != 1 {
			t.Fatalf("Read = %d messages, %v, want 1", len(ms), err)
		}
		_ = errors.Join(l.Close(), s.Close())
	}
}
