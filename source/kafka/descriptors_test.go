// Virtual time: every test here makes a bubble, by inWorld.

package kafka_test

import (
	"strings"
	"testing"
	"time"
)

func TestTooFewDescriptorsAreAnErrorAtTheStart(t *testing.T) {
	for _, c := range []struct {
		name        string
		partitions  int32
		limit, open int
		fails       bool
	}{
		{"enough", 100, 1024, 100, false},
		{"just enough", 100, 232, 0, false},
		{"one too few", 100, 231, 0, true},
		{"others are open", 100, 1024, 900, true},
		{"no files at all", 1, 3, 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, c.partitions, func(w *world) {
				s := w.source("g")
				s.SetDescriptors(c.limit, c.open)
				if !c.fails {
					w.close(s, w.accept(s, int(c.partitions)))
					return
				}
				err := w.acceptErr(s)
				for _, part := range []string{`group "g"`, "file descriptors", "ulimit -n"} {
					if !strings.Contains(err.Error(), part) {
						w.t.Errorf("Accept = %v, want it to say %q", err, part)
					}
				}
				time.Sleep(time.Second)
				if n := len(w.cluster.GroupInfo("g").Members); n != 0 {
					w.t.Errorf("the group has %d members, want 0: the source has failed", n)
				}
				w.close(s, nil)
			})
		})
	}
}

// A member that gets more partitions because others ended must not end too.
func TestTooFewDescriptorsAfterTheStartAreTrouble(t *testing.T) {
	inWorld(t, 8, func(w *world) {
		a, b := w.source("g"), w.source("g")
		b.SetDescriptors(45, 0)
		as := w.accept(a, 8)
		got := w.join(b, 4)
		w.follow(as)
		as, bs := w.accept(a, 4), <-got
		w.close(a, as)
		w.follow(bs)
		bs = w.accept(b, 8)
		trouble := b.Report().Trouble
		if len(trouble) != 1 || trouble[0].What != "descriptors" {
			w.t.Errorf("trouble = %v, want the descriptors", trouble)
		}
		w.close(b, bs)
	})
}
