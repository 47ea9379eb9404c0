// Virtual time: the tests that use it make it.

package pulsar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// member is a source of the fake broker that is closed when the test ends.
type member struct {
	t *testing.T
	s *Source
	c *fakeClient
}

func join(t *testing.T, b *fakeBroker, cfg Config, topics ...string) *member {
	t.Helper()
	s, c, err := b.source(cfg, topics...)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, s: s, c: c}
	t.Cleanup(func() { _ = s.Close() })
	return m
}

// accept waits for one partition.
func (m *member) accept() *Partition {
	m.t.Helper()
	p, err := m.s.Accept(soon(m.t))
	if err != nil {
		m.t.Fatal(err)
	}
	own, ok := p.(*Partition)
	if !ok {
		m.t.Fatalf("accepted a %T", p)
	}
	return own
}

// read fetches n messages.
func read(t *testing.T, p source.Partition, n int) []keystrand.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []keystrand.Message
	for len(all) < n {
		b := source.Batch{MaxMessages: n - len(all), MaxBytes: 1 << 20}
		if err := p.Fetch(ctx, &b); err != nil {
			t.Fatalf("fetch after %d of %d: %v", len(all), n, err)
		}
		all = append(all, b.Messages...)
	}
	return all
}

// soon returns a context that ends a hanging call, so that its test fails instead of hanging.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// accepting is accept in the background. It sends nil on failure.
func (m *member) accepting() <-chan source.Partition {
	m.t.Helper()
	got, ctx := make(chan source.Partition, 1), soon(m.t)
	go func() {
		p, err := m.s.Accept(ctx)
		if err != nil {
			m.t.Errorf("accept = %v", err)
		}
		got <- p
	}()
	return got
}

// left waits until a partition is revoked or lost.
func left(t *testing.T, p source.Partition) source.Leave {
	t.Helper()
	select {
	case l := <-p.Leaving():
		return l
	case <-time.After(time.Minute):
		t.Fatalf("%v is still owned after a minute", p.ID())
		return source.Leave{}
	}
}

// nothing checks that no message arrives for a while.
func nothing(t *testing.T, p source.Partition) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
	if err := p.Fetch(ctx, &b); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("fetch = %v, %d messages; want none", err, len(b.Messages))
	}
}

func settle(t *testing.T, p source.Partition, frontier int64, ahead ...commit.Range) commit.Stored {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stored, err := p.Commit(ctx, &commit.Progress{Epoch: p.ID().Epoch, Frontier: frontier, Ahead: ahead})
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func numbered(from, to int) []keystrand.Message {
	var all []keystrand.Message
	for n := from; n < to; n++ {
		all = append(all, keystrand.Message{Key: fmt.Appendf(nil, "k%d", n%3), Value: fmt.Append(nil, n)})
	}
	return all
}

// memStore keeps progress in memory.
type memStore struct {
	mu    sync.Mutex
	claim func(ctx context.Context) error // called before a claim, without the lock; nil: it succeeds
	saved map[string]commit.Progress
}

func newMemStore() *memStore { return &memStore{saved: make(map[string]commit.Progress)} }

func (s *memStore) Claim(ctx context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	s.mu.Lock()
	claim := s.claim
	s.mu.Unlock()
	if claim != nil {
		if err := claim(ctx); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprintf("%s/%d", stream, partition)
	p := s.saved[name]
	p.Epoch = max(p.Epoch+1, epoch)
	s.saved[name] = p
	return &p, nil
}

// claims sets the function called before a claim.
func (s *memStore) claims(f func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claim = f
}

func (s *memStore) at(stream string, partition int32) commit.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved[fmt.Sprintf("%s/%d", stream, partition)]
}

func (s *memStore) Save(_ context.Context, stream string, partition int32, p *commit.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprintf("%s/%d", stream, partition)
	if s.saved[name].Epoch != p.Epoch {
		return fmt.Errorf("%s: epoch %d: %w", name, p.Epoch, commit.ErrFenced)
	}
	s.saved[name] = *p
	return nil
}

// journal is a log that may be read while others write to it.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
