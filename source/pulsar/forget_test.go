// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
)

// sizes returns the length of each map and slice in a source and its catalogue, by field.
func sizes(s *Source) map[string]int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]int)
	for _, v := range []reflect.Value{reflect.ValueOf(s).Elem(), reflect.ValueOf(s.known).Elem()} {
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.Map, reflect.Slice:
				all[v.Type().Name()+"."+v.Type().Field(i).Name] = f.Len()
			default:
			}
		}
	}
	return all
}

// Topics are created and deleted for months. None may cost memory for ever.
func TestSourceKeepsNothingOfDeletedTopics(t *testing.T) {
	const total, wave = 2000, 100
	for name, cfg := range map[string]Config{
		"election, store": {Store: newMemStore()},
		"alone, At":       {Alone: true, Start: At(time.Unix(1, 0))},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				cfg.Pattern = regexp.MustCompile("/wave-[0-9]+$")
				m, _ := joinWeb(t, b, cfg, "orders")
				first := m.accept()
				m.idle(time.Minute)
				before := sizes(m.s)
				for from := 0; from < total; from += wave {
					topic := func(i int) string { return fmt.Sprintf("persistent://public/default/wave-%d", from+i) }
					for i := range wave {
						b.create(topic(i), i%2)
					}
					owned := make([]*Partition, wave)
					for i := range owned {
						owned[i] = m.accept()
					}
					b.notReady(topic(0)) // its last look-up fails
					time.Sleep(time.Minute)
					for i := range wave {
						b.remove(topic(i))
					}
					for _, p := range owned {
						left(t, p)
						_ = p.Release(t.Context())
					}
					m.idle(time.Minute)
				}
				for field, n := range sizes(m.s) {
					if n > before[field] {
						t.Errorf("%s has %d elements after %d topics, want %d as before", field, n, total, before[field])
					}
				}
				if tr := m.s.Report().Trouble; len(tr) > 0 {
					t.Errorf("%d operations still fail, among them %v", len(tr), tr[0])
				}
				_ = first.Release(t.Context())
			})
		})
	}
}

// The library reports a topic missing while it is unloaded. Only the list of topics tells whether it was deleted.
func TestStartMovesOnceAlthoughTheTopicSeemsMissing(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create(matched, 0)
		for _, msg := range numbered(0, 6) {
			b.produce(matched, msg)
		}
		cfg := matching()
		cfg.Alone, cfg.Start = true, At(time.Unix(1, 0))
		m, web := joinWeb(t, b, cfg)
		p := m.accept()
		settle(t, p, read(t, p, 6)[2].Offset)
		web.set(func() { web.err = io.ErrUnexpectedEOF }) // else the partition may stay: the topic is listed
		m.s.deleted(matched)
		left(t, p)
		_ = p.Release(t.Context())
		time.Sleep(second)
		web.set(func() { web.err = nil })
		q := m.accept()
		if msgs := read(t, q, 4); string(msgs[0].Value) != "2" {
			t.Errorf("first message = %s, want 2: the subscription was moved again", msgs[0].Value)
		}
		_ = q.Release(t.Context())
	})
}

func TestLargeBatchIsNotPinnedByOneMessage(t *testing.T) {
	batch := make([]byte, 200_000)
	c := converter{stream: "orders"}
	e := &fakeEntry{ledger: 1, msgs: []keystrand.Message{{Value: batch[:100]}, {Value: batch[199_900:]}}}
	for i := range e.msgs {
		m := c.message(&fakeMessage{e: e, i: i, id: &testID{ledger: 1, batch: int32(i), size: 2}}, 0)
		if len(m.Value) != 100 || cap(m.Value) != 100 || &m.Value[0] == &e.msgs[i].Value[0] {
			t.Errorf("value %d: %d bytes with capacity %d, a slice of the batch", i, len(m.Value), cap(m.Value))
		}
	}
}

// Start is about the logs that exist when the process starts. One that is created later has nothing to skip.
func TestStartAppliesToNoTopicThatIsCreatedLater(t *testing.T) {
	for name, start := range map[string]func() Start{
		"At":    func() Start { return At(time.Now().Add(24 * time.Hour)) },
		"After": func() Start { return After(map[string]map[int32]MessageID{matched: {0: {Ledger: 11}}}) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				b.create(matched, 0)
				b.produce(matched, numbered(0, 1)...)
				cfg := matching()
				cfg.Alone, cfg.Start = true, start()
				if name == "After" {
					cfg.Start.ids[matched][0] = MessageID{Ledger: b.topics[matched].entries[0].ledger}
				}
				m, _ := joinWeb(t, b, cfg)
				p := m.accept()
				nothing(t, p)
				b.remove(matched)
				left(t, p)
				_ = p.Release(t.Context())
				m.idle(2 * time.Minute)
				b.create(matched, 0)
				q := m.accept()
				b.produce(matched, numbered(1, 2)...)
				if msgs := read(t, q, 1); string(msgs[0].Value) != "1" {
					t.Errorf("first message = %s, want 1", msgs[0].Value)
				}
				other := "persistent://public/default/orders-b"
				b.create(other, 0)
				b.produce(other, numbered(2, 3)...)
				r := m.accept()
				read(t, r, 1)
				_ = r.Release(t.Context())
				_ = q.Release(t.Context())
			})
		})
	}
}
