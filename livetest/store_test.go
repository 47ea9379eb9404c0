//go:build unix

package livetest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/rpc"
	"sync"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// store keeps progress in the memory of the test. Members reach it by RPC, so it outlives them and brokers.
type store struct {
	mu    sync.Mutex
	saved map[Place]commit.Progress // guarded by mu
}

// StoreCall claims an epoch, or saves progress.
type StoreCall struct {
	Place
	Save     bool
	Progress commit.Progress
}

// newStore returns a store and its address.
func newStore(t *testing.T) (*store, remoteStore) {
	t.Helper()
	s := &store{saved: map[Place]commit.Progress{}}
	server := rpc.NewServer()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err == nil {
		err = server.RegisterName("Store", s)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go server.Accept(l)
	return s, remoteStore(l.Addr().String())
}

// Call is for members. The answer has the stored progress; after a fenced Save, its epoch is another one.
func (s *store) Call(call StoreCall, answer *commit.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.saved[call.Place]
	if !call.Save {
		p.Epoch = max(p.Epoch+1, call.Progress.Epoch)
	} else if call.Progress.Epoch == p.Epoch {
		p = call.Progress
	}
	s.saved[call.Place], *answer = p, p
	return nil
}

func (s *store) progress() map[Place]commit.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.saved)
}

// remoteStore is the address of a store.
type remoteStore string

// Claim implements [commit.Store].
func (s remoteStore) Claim(_ context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	return s.call(StoreCall{Place{stream, partition}, false, commit.Progress{Epoch: epoch}})
}

// Save implements [commit.Store].
func (s remoteStore) Save(_ context.Context, stream string, partition int32, p *commit.Progress) error {
	stored, err := s.call(StoreCall{Place{stream, partition}, true, *p})
	if err == nil && stored.Epoch != p.Epoch {
		err = fmt.Errorf("epoch %d is claimed, not %d: %w", stored.Epoch, p.Epoch, commit.ErrFenced)
	}
	return err
}

func (s remoteStore) call(call StoreCall) (answer *commit.Progress, err error) {
	client, err := rpc.Dial("tcp", string(s))
	if err == nil {
		defer func() { _ = client.Close() }()
		err = client.Call("Store.Call", call, &answer)
	}
	return answer, err
}
