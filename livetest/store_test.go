//go:build unix

package livetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/keystrand/keystrand/commit"
)

// storeServer keeps progress in the memory of the test, for members that ask over HTTP: a store that is there when members
// and brokers are killed.
type storeServer struct {
	*httptest.Server

	mu    sync.Mutex
	saved map[Place]commit.Progress // guarded by mu
}

// storeCall is a call of a [commit.Store], to claim or to save.
type storeCall struct {
	Place
	Claim    int64            // the epoch, at least
	Progress *commit.Progress // nil: claim
}

func newStoreServer(t *testing.T) *storeServer {
	t.Helper()
	s := &storeServer{saved: map[Place]commit.Progress{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *storeServer) serve(w http.ResponseWriter, r *http.Request) {
	var call storeCall
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	p := s.saved[call.Place]
	switch {
	case call.Progress == nil:
		p.Epoch = max(p.Epoch+1, call.Claim)
	case call.Progress.Epoch != p.Epoch:
		s.mu.Unlock()
		http.Error(w, fmt.Sprintf("epoch %d is claimed, not %d", p.Epoch, call.Progress.Epoch), http.StatusConflict)
		return
	default:
		p = *call.Progress
	}
	s.saved[call.Place] = p
	s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(p)
}

// progress returns what is stored of a stream.
func (s *storeServer) progress(stream string) map[int32]*commit.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[int32]*commit.Progress{}
	for place, p := range s.saved {
		if place.Stream == stream {
			all[place.Partition] = &p
		}
	}
	return all
}

// remoteStore is the store of a member: the URL of a storeServer.
type remoteStore string

var _ commit.Store = remoteStore("")

// Claim implements [commit.Store].
func (s remoteStore) Claim(ctx context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	return s.call(ctx, storeCall{Place: Place{stream, partition}, Claim: epoch})
}

// Save implements [commit.Store].
func (s remoteStore) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	_, err := s.call(ctx, storeCall{Place: Place{stream, partition}, Progress: p})
	return err
}

func (s remoteStore) call(ctx context.Context, call storeCall) (*commit.Progress, error) {
	body, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(s), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusConflict:
		return nil, fmt.Errorf("%s: %w", bytes.TrimSpace(answer), commit.ErrFenced)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s", resp.Status, answer)
	}
	var p commit.Progress
	return &p, json.Unmarshal(answer, &p)
}
