// Virtual time: each check runs in a bubble of its own.

package demux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing/synctest"

	"pgregory.net/rapid"
)

// cut cuts a connection some times, each after some events.
func (m *model) cut(times, events int) {
	m.tally["cuts"]++
	left := events
	m.log.fail(func() error {
		if times == 0 {
			return nil
		}
		if left > 0 {
			left--
			return nil
		}
		times, left = times-1, events
		return fmt.Errorf("%w: read tcp", errCut)
	})
}

var errRefused = errors.New("the store is away")

// refuse makes the store refuse some calls.
func (m *model) refuse(times int) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.store.broken = func(string) error {
		if times == 0 {
			return nil
		}
		times--
		m.refused.Add(1)
		return errRefused
	}
}

func (m *model) crash() {
	m.src.cancel()
	m.stop()
	<-m.done
	for _, h := range m.held {
		m.t.Logf("crash: %v at %d", h.part.ID(), h.tracker.State().Position)
	}
	for _, h := range m.held { // so that the queues are counted
		if err := h.part.Release(context.Background()); err != nil {
			m.t.Fatal(err)
		}
	}
	m.close()
}

// leave commits and releases all, as a pipeline that stops.
func (m *model) leave() {
	m.stop()
	<-m.done
	for _, name := range slices.Sorted(maps.Keys(m.held)) {
		h := m.held[name]
		m.commit(name, h)
		m.release(name, h)
	}
	m.close()
}

func (m *model) close() {
	if err := m.src.Close(); err != nil {
		m.t.Fatal(err)
	}
	if n, full := m.src.Prefetched(), m.src.full.Load(); n != 0 || full != 0 {
		m.t.Fatalf("%d bytes of %d tables are held after Close", n, full)
	}
}

// replace makes another server the primary, which may have the transactions of other domains in another order.
func (m *model) replace() {
	m.tally["servers"]++
	m.goesOn = ""
	seed := rapid.Uint64().Draw(m.t, "order")
	m.log.replace(fmt.Sprint("server-", m.tally["servers"]+1), func(txns []fakeTxn) {
		random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
		for range txns {
			i := random.IntN(len(txns))
			if i > 0 && txns[i].domain != txns[i-1].domain {
				txns[i-1], txns[i] = txns[i], txns[i-1]
			}
		}
	})
	synctest.Wait()
}
