package pulsar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// linkForgotten is how long after the last attempt an address counts as unreachable. The library tries one address more often,
// as long as anything needs it.
const linkForgotten = 2 * time.Minute

// connecting names connections in the health of the source.
func connecting(addr string) string { return "connect to " + addr }

// unreachable records that there is no connection to an address. It ends the source if there was none yet and no retry can
// heal that. It is called for each attempt.
func (s *Source) unreachable(addr string, err error) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.links[addr] = time.Now()
	}
	s.mu.Unlock()
	if closed {
		return
	}
	if final := s.log.FatalConnection(fmt.Sprintf("topics %q, subscription %q", s.topics, s.subscription)); final != nil {
		s.fail(final)
		return
	}
	ctx := context.Background()
	if client.MayBeWrongPort(err) && !s.log.WasConnected() {
		// The goroutine ends within ProbeTimeout. Nothing waits for it: it only improves the error.
		go func() {
			if wrong := client.Probe(ctx, addr, s.url); wrong != nil {
				s.wrongPort(ctx, addr, wrong)
			} else if errors.Is(err, client.ErrSilent) {
				s.health.Fails(ctx, connecting(addr), err)
			}
		}()
		if errors.Is(err, client.ErrSilent) {
			return
		}
	}
	s.health.Fails(ctx, connecting(addr), err)
}

// wrongPort handles an address that speaks another protocol. The source ends if it is the only one and never worked.
func (s *Source) wrongPort(ctx context.Context, addr string, err error) {
	s.mu.Lock()
	_, away := s.links[addr]
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed || !away:
	case client.Hosts(s.url) == 1 && !s.log.WasConnected():
		s.fail(err)
	default:
		s.health.Fails(ctx, connecting(addr), err)
	}
}

// connected records a connection to an address.
func (s *Source) connected(addr string) {
	s.mu.Lock()
	delete(s.links, addr)
	s.mu.Unlock()
	s.health.Works(context.Background(), connecting(addr))
}

// isUnreachable reports whether an address has no connection.
func (s *Source) isUnreachable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.links) > 0
}

// forgetLinks forgets addresses that nothing needs any more.
func (s *Source) forgetLinks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, at := range s.links {
		if time.Since(at) >= linkForgotten {
			delete(s.links, addr)
			s.health.Forget(connecting(addr))
		}
	}
}
