// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar/crypto"

	"github.com/keystrand/keystrand/source"
)

// Each kind of message that cannot be read.
func TestUnreadableMessageStopsItsPartitionAlone(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(e *fakeEntry)
		want error
		says []string
	}{
		"encrypted":         {func(e *fakeEntry) { e.sealed = true }, ErrEncrypted, []string{"orders-key", "Config.KeyReader"}},
		"not decompressed":  {func(e *fakeEntry) { e.damaged = errors.New("lz4: bad block") }, ErrUnreadable, []string{"lz4: bad block"}},
		"wrong checksum":    {func(e *fakeEntry) { e.damaged = errors.New("checksum mismatch") }, ErrUnreadable, []string{"checksum mismatch"}},
		"cause not in full": {func(e *fakeEntry) { e.damaged, e.vague = errors.New("none"), true }, ErrUnreadable, []string{"DecompressionError"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				b.create("orders", 2)
				var told journal
				m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
				p, q := m.accept(), m.accept()
				if p.ID().Partition != 0 {
					p, q = q, p
				}
				for _, msg := range numbered(0, 2) {
					b.produce(topic0, msg)
				}
				broken := b.produceAs(topic0, c.set, numbered(2, 3)...)
				for _, msg := range numbered(3, 5) {
					b.produce(topic0, msg)
				}
				if got := values(read(t, p, 2)); got != "0 1" {
					t.Errorf("read %q before the message", got)
				}
				for range 2 {
					nothing(t, p)
				}
				settle(t, p, 2)
				err := m.troubled("read " + stream("orders/0"))
				for _, text := range append(c.says, "orders/0", "11:2", "billing") {
					if !errors.Is(err, c.want) || !strings.Contains(err.Error(), text) {
						t.Errorf("trouble = %v, want %v with %q", err, c.want, text)
					}
				}
				synctest.Wait()
				if n := strings.Count(told.String(), `what="read `+stream("orders/0")+`"`); n != 1 {
					t.Errorf("logged %d times in 4 s, want once:\n%s", n, &told)
				}
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if n := strings.Count(told.String(), `what="read `+stream("orders/0")+`"`); n != 6 {
					t.Errorf("logged %d times in 5 minutes, want 6", n)
				}
				b.produce("orders-partition-1", numbered(7, 8)...)
				if got := values(read(t, q, 1)); got != "7" || !m.s.Report().Ready {
					t.Errorf("read %q from the other partition, ready %v", got, m.s.Report().Ready)
				}
				if got := b.unacked(topic0); !slices.Equal(got, []int64{2, 3, 4}) {
					t.Errorf("unacknowledged %v, want the message and those behind it", got)
				}
				b.change(func() { broken.sealed, broken.damaged = false, nil })
				b.cut(topic0, "")
				if l := left(t, p); !l.Lost {
					t.Errorf("leave = %+v, want lost", l)
				}
				_ = p.Release(t.Context())
				p = m.accept()
				if got := values(read(t, p, 3)); got != "2 3 4" || m.troubled("read "+stream("orders/0")) != nil {
					t.Errorf("read %q, trouble %v", got, m.s.Report().Trouble)
				}
				synctest.Wait()
				if n := strings.Count(told.String(), `recovered" subscription=billing what="read `+stream("orders/0")+`"`); n != 1 {
					t.Errorf("logged %d recoveries, want 1:\n%s", n, &told)
				}
				_ = p.Release(t.Context())
				_ = q.Release(t.Context())
			})
		})
	}
}

// keyService is a service of keys that comes back.
type keyService struct{ crypto.KeyReader }

func TestDecryptionIsTriedAgainAfterEarlierMessagesAreSettled(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{KeyReader: keyService{}}, "orders")
		p := m.accept()
		b.produce(topic0, numbered(0, 1)...)
		sealed := b.produceAs(topic0, func(e *fakeEntry) { e.sealed = true }, numbered(1, 2)...)
		read(t, p, 1)
		nothing(t, p)
		b.change(func() { sealed.sealed = false })
		fetched := make(chan error, 1)
		go func() { fetched <- p.Fetch(soon(t), &source.Batch{MaxMessages: 1, MaxBytes: 1 << 20}) }()
		select {
		case l := <-p.Leaving():
			t.Fatalf("leave = %+v with a message that is not settled", l)
		case <-time.After(3 * time.Minute):
		}
		settle(t, p, 1)
		if l := left(t, p); l.Lost {
			t.Errorf("leave = %+v, want revoked", l)
		}
		if err := <-fetched; !errors.Is(err, source.ErrLeaving) {
			t.Errorf("fetch = %v", err)
		}
		_ = p.Release(t.Context())
		p = m.accept()
		if got := values(read(t, p, 1)); got != "1" || m.troubled("read "+stream("orders/0")) != nil {
			t.Errorf("read %q, trouble %v", got, m.s.Report().Trouble)
		}
		_ = p.Release(t.Context())
	})
}

// Operators skip a message and unload the topic, which may be idle for long.
func TestSkippedUnreadableMessageIsNoTroubleWithoutAnotherMessage(t *testing.T) {
	for name, breaks := range map[string]func(e *fakeEntry){
		"encrypted": func(e *fakeEntry) { e.sealed = true },
		"damaged":   func(e *fakeEntry) { e.damaged = errors.New("checksum mismatch") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				var told journal
				m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
				p := m.accept()
				e := b.produceAs(topic0, breaks, numbered(0, 1)...)
				nothing(t, p)
				reload := func() {
					b.cut(topic0, "")
					left(t, p)
					_ = p.Release(t.Context())
					p = m.accept()
					for range 3 { // together less than skippedAfter is no proof
						nothing(t, p)
					}
				}
				reload()
				if m.troubled("read "+stream("orders/0")) == nil {
					t.Error("no trouble before the message")
				}
				time.Sleep(time.Minute)
				if err := p.Fetch(soon(t), &source.Batch{MaxMessages: 1, MaxBytes: 1 << 20}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("fetch = %v", err)
				}
				if m.troubled("read "+stream("orders/0")) == nil {
					t.Error("no trouble before the message after a minute")
				}
				b.change(func() { e.acked[0] = true })
				reload()
				if err := p.Fetch(soon(t), &source.Batch{MaxMessages: 1, MaxBytes: 1 << 20}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("fetch = %v", err)
				}
				if err := m.troubled("read " + stream("orders/0")); err != nil {
					t.Errorf("trouble = %v after the message was skipped", err)
				}
				if n := strings.Count(told.String(), `recovered" subscription=billing what="read `); n != 1 {
					t.Errorf("logged %d recoveries, want 1:\n%s", n, &told)
				}
				_ = p.Release(t.Context())
			})
		})
	}
}
