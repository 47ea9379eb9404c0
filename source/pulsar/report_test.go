// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
)

func TestLossesAreCounted(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var told journal
		m := join(t, b, Config{Logger: slog.New(slog.NewJSONHandler(&told, nil))}, "orders")
		p := m.accept()
		first := p.ID()
		if l := m.s.Report().Losses; l.Count != 0 {
			t.Errorf("losses = %+v before any", l)
		}
		if name := b.candidatesOf(topic0)[0].o.Name; m.s.Report().Member != name {
			t.Errorf("member %q, want %q as the broker lists it", m.s.Report().Member, name)
		}
		for range 2 {
			time.Sleep(time.Minute)
			b.cut(topic0, "")
			_ = p.Release(t.Context())
			p = m.accept()
		}
		at := time.Now()
		time.Sleep(time.Minute)
		l := m.s.Report().Losses
		if l.Count != 2 || l.Last.Stream != stream("orders") || l.Last.Epoch >= p.ID().Epoch || !strings.Contains(l.Why, "disconnected") {
			t.Errorf("losses = %+v", l)
		}
		lines := strings.Split(told.String(), "\n")
		tells := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "pulsar: partition lost") })
		for _, want := range []string{fmt.Sprintf("%q", first), `"subscription":"billing"`, "disconnected", `"level":"WARN"`} {
			if tells < 0 || !strings.Contains(lines[tells], want) {
				t.Errorf("the first loss is not logged with %s: %s", want, told.String())
			}
		}
		if !l.At.Equal(at) {
			t.Errorf("last loss at %v, want %v", l.At, at)
		}
		_ = p.Release(t.Context())
		synctest.Wait()
		if l := m.s.Report().Losses; l.Count != 2 {
			t.Errorf("losses = %+v, want 2: a release is none", l)
		}
	})
}

func TestDisconnectedCandidateIsTrouble(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		p := m.accept()
		candidate := b.candidatesOf(topic0)[0]
		b.away(candidate)
		went := time.Now()
		time.Sleep(10 * second)
		if tr := m.s.Report().Trouble; len(tr) != 1 || tr[0].What != "stay in election of "+stream("orders/0") || !tr[0].Since.Equal(went) {
			t.Errorf("trouble = %v", tr)
		}
		b.back(candidate)
		if tr := m.s.Report().Trouble; len(tr) != 0 {
			t.Errorf("trouble = %v, want none", tr)
		}
		// A candidate that was given up is no trouble.
		b.away(b.candidatesOf(topic0)[0])
		b.remove("orders")
		m.s.deleted(topic0)
		_ = p.Release(t.Context())
		synctest.Wait()
		if err := m.troubled("stay in election of " + stream("orders/0")); err != nil {
			t.Errorf("trouble = %v, want none", err)
		}
	})
}

func TestFailedSourceIsNotReadyAfterALateAttachment(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		hang := make(chan struct{})
		b.hang, b.only = hang, callAttach
		m := join(t, b, Config{Alone: true}, "orders")
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		if _, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		m.s.fail(errFakeForbidden)
		close(hang)
		synctest.Wait()
		if r := m.s.Report(); r.Ready || r.State != "failed" {
			t.Errorf("report %+v", r)
		}
	})
}

// Another version of the client library may not log frames, or log other ones.
func TestHiddenFormOfMessagesIsLoggedOnce(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var told journal
		m := join(t, b, Config{Logger: slog.New(slog.NewJSONHandler(&told, nil))}, "orders")
		p := m.accept()
		b.produce(topic0, keystrand.Message{Key: []byte("k"), Value: []byte("v")})
		read(t, p, 1)
		if strings.Contains(told.String(), "hidden") {
			t.Errorf("logged without a reason: %s", told.String())
		}
		for range 3 {
			b.produceAs(topic0, func(e *fakeEntry) { e.hidden = true }, keystrand.Message{Key: []byte("k"), Value: []byte("v")})
		}
		got := read(t, p, 3)
		if info, _ := InfoOf(&got[0]); string(got[0].Key) != "k" || info.KeyKind != KeyText || info.SequenceID != -1 || info.Producer != "producer" {
			t.Errorf("key %q, %+v", got[0].Key, info)
		}
		for _, want := range []string{"form of messages is hidden", `"level":"ERROR"`, `"id":"`, `"producer":"producer"`} {
			if strings.Count(told.String(), want) != 1 {
				t.Errorf("%s is not logged once: %s", want, told.String())
			}
		}
	})
}
