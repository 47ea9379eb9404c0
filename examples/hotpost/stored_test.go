package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
)

// storeOf returns a store that has comments 5 to 8 of the viral post at offsets 50 to 80 of partition 3, handled through 60.
func storeOf(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "spill.db")
	withStore(t, file, func(log spill.Log) {
		var rs []spill.Record
		for n := int64(5); n <= 8; n++ {
			rs = append(rs, spill.Record{Key: viral, From: 50, Message: keystrand.Message{
				Stream: "t", Partition: 3, Offset: 10 * n, Key: []byte(viral), Value: fmt.Append(nil, n),
			}})
		}
		if err := log.Append(t.Context(), rs); err != nil {
			t.Fatal(err)
		}
		if err := log.Save(t.Context(), []spill.Mark{{Key: viral, Through: 60}}); err != nil {
			t.Fatal(err)
		}
	})
	return file
}

// withStore opens partition 3 of a store as the first owner of a group.
func withStore(t *testing.T, file string, use func(spill.Log)) {
	t.Helper()
	store, err := bolt.New(file, bolt.Config{})
	if err != nil {
		t.Fatal(err)
	}
	log, _, err := store.Open(t.Context(), spill.Owner{Stream: "t", Partition: 3, Epoch: 1, Log: "a topic"})
	if err != nil {
		t.Fatal(err)
	}
	use(log)
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadStoreReturnsWhatWaitsAndClaimsNothing(t *testing.T) {
	file := storeOf(t)
	s, err := readStore(t.Context(), file, "t")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.waiting) != 2 || !s.waiting[show.Comment{Post: viral, N: 7, Partition: 3, Offset: 70}] {
		t.Errorf("waiting = %v, want comments 7 and 8", s.waiting)
	}
	withStore(t, file, func(log spill.Log) { // fails if the epoch of readStore is in the file
		if ms, err := log.Read(t.Context(), viral, 60, spill.Size{}); err != nil || len(ms) != 2 {
			t.Errorf("the store has %d comments, %v, want 2", len(ms), err)
		}
	})
	if left, err := filepath.Glob(file + "?*"); err != nil || len(left) > 0 {
		t.Errorf("files left = %q, %v", left, err)
	}
}

func TestReadStoreTakesAMissingFileForAnEmptyStore(t *testing.T) {
	s, err := readStore(t.Context(), filepath.Join(t.TempDir(), "none.db"), "t")
	if err != nil || len(s.waiting) != 0 {
		t.Errorf("readStore = %v, %v, want nothing", s, err)
	}
}

func TestRepeatsIsTrueForCommentsThatNobodyKnowsToBeHandled(t *testing.T) {
	s, err := readStore(t.Context(), storeOf(t), "t")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		comment show.Comment
		settled bool // by the group's commit
		want    bool
	}{
		{"another post, settled", show.Comment{Post: "post-1", N: 1}, true, false},
		{"another post, not settled", show.Comment{Post: "post-1", N: 1}, false, true},
		{"before the log, not settled", show.Comment{Post: viral, N: 4, Partition: 3, Offset: 40}, false, true},
		{"handled from the log, settled", show.Comment{Post: viral, N: 6, Partition: 3, Offset: 60}, true, false},
		{"handled from the log, not settled", show.Comment{Post: viral, N: 6, Partition: 3, Offset: 60}, false, false},
		{"waits in the log, settled", show.Comment{Post: viral, N: 7, Partition: 3, Offset: 70}, true, true},
		{"behind the log, not settled", show.Comment{Post: viral, N: 9, Partition: 3, Offset: 90}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.repeats(tt.comment, func(show.Comment) bool { return tt.settled }); got != tt.want {
				t.Errorf("repeats = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestFoundCountsCommentsInTheStoreAsNotLost(t *testing.T) {
	s, err := readStore(t.Context(), storeOf(t), "t")
	if err != nil {
		t.Fatal(err)
	}
	check := show.NewCheck(4) // 5 is handled, and 6 is not; 7 is, and waits there all the same, as 8
	check.Starts()
	check.Heard(fmt.Sprintf("e %s 5 3 50", viral))
	check.Heard(fmt.Sprintf("e %s 7 3 70", viral))
	if got := s.found(check).Lost; got != 1 {
		t.Errorf("lost = %d, want 1", got)
	}
}
