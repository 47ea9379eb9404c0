package inbox

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
)

func TestNewReturnsAllMistakes(t *testing.T) {
	if _, err := New(0, ""); err == nil || !strings.Contains(err.Error(), "dialect") || !strings.Contains(err.Error(), "name") {
		t.Errorf("New(0, \"\") = %v, want both mistakes", err)
	}
	if _, err := New(MariaDB, strings.Repeat("n", 256)); err == nil {
		t.Error("New took a name that the table cannot have")
	}
	if _, err := New(MariaDB, strings.Repeat("n", 255)); err != nil {
		t.Error(err)
	}
}

func newInbox(t *testing.T) *Inbox {
	t.Helper()
	b, err := New(PostgreSQL, "payments")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Another ctx has no identity of the log: the message would be a new one, and its effect would be applied twice.
func TestSeenRefusesAContextThatIsNotOfAHandler(t *testing.T) {
	seen, err := newInbox(t).Seen(context.Background(), nil, &keystrand.Message{Stream: "orders", Partition: 3, Offset: 42})
	if seen || err == nil || !strings.Contains(err.Error(), "orders/3@42") || !strings.Contains(err.Error(), "ctx") {
		t.Errorf("Seen = %v, %v; want an error that names the message and the ctx", seen, err)
	}
}

func TestPruneRefusesToDeleteEverything(t *testing.T) {
	for _, x := range []struct {
		older time.Duration
		limit int
	}{{0, 10}, {-time.Hour, 10}, {time.Hour, 0}, {time.Hour, -1}} {
		if n, err := newInbox(t).Prune(t.Context(), nil, x.older, x.limit); err == nil || n != 0 {
			t.Errorf("Prune(%v, %d) = %d, %v; want an error", x.older, x.limit, n, err)
		}
	}
}

func TestPlacesDiffer(t *testing.T) {
	places := map[string]string{}
	for _, stream := range []string{"", "a", "ab", "a\x00"} {
		for _, log := range []string{"", "b", "bc", "\x00b"} {
			for _, partition := range []int32{-1, 0, 1, 256} {
				p := place(&keystrand.Message{Stream: stream, Partition: partition}, log)
				name := fmt.Sprintf("%q/%d of %q", stream, partition, log)
				if other, ok := places[string(p)]; ok || len(p) != 32 {
					t.Errorf("%s has the place of %s, %x", name, other, p)
				}
				places[string(p)] = name
			}
		}
	}
}

// Rows outlive a version of this package: a change of the identity would make every message a new one.
func TestPlaceIsTheOneOfEarlierVersions(t *testing.T) {
	got := fmt.Sprintf("%x", place(&keystrand.Message{Stream: "orders", Partition: 3}, "b9c1"))
	if want := "71cca9fcf787c9ec8c37ab723080a636083ec07722bce89bf0dc053bfb4b4797"; got != want {
		t.Errorf("place = %s, want %s", got, want)
	}
}

func TestNanosecondsTellTimesApart(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC)
	if nanoseconds(at) != at.UnixNano() || nanoseconds(at.In(time.FixedZone("", 3600))) != at.UnixNano() {
		t.Errorf("nanoseconds(%v) = %d, want %d in every zone", at, nanoseconds(at), at.UnixNano())
	}
	if nanoseconds(time.Time{}) != 0 {
		t.Error("no time is not 0")
	}
	far := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if nanoseconds(far) == nanoseconds(far.Add(1)) {
		t.Error("times far away are not told apart")
	}
}

func TestSchemaOfAnUnknownDialectIsEmpty(t *testing.T) {
	if s := Schema(0); s != "" {
		t.Errorf("Schema(0) = %q", s)
	}
}
