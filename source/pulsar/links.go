package pulsar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/internal/pulsarprobe"
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
	err = pulsarname.Advise(err)
	probes := client.MayBeWrongPort(err) && !s.log.WasConnected()
	if !probes || !errors.Is(err, client.ErrSilent) {
		s.health.Fails(context.Background(), connecting(addr), err)
	}
	if probes {
		s.aside(func(ctx context.Context) { s.probed(ctx, addr, s.probe(ctx, addr, s.url), err) })
	}
}

// aside runs f on a goroutine, with a ctx that ends with the source. A source that is closed does nothing.
func (s *Source) aside(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.calls.Go(func() {
		defer cancel()
		f(ctx)
	})
	s.calls.Go(func() {
		select {
		case <-s.failed:
			cancel()
		case <-ctx.Done():
		}
	})
}

// probed handles why there is no connection to an address, unless there is one by now. The source ends if the address is the
// only one, never worked, and speaks another protocol.
func (s *Source) probed(ctx context.Context, addr string, wrong, err error) {
	s.mu.Lock()
	_, away := s.links[addr]
	s.mu.Unlock()
	switch {
	case ctx.Err() != nil || !away:
	case wrong != nil && pulsarprobe.Hosts(s.url) == 1 && !s.log.WasConnected():
		s.fail(wrong)
	default:
		s.health.Fails(ctx, connecting(addr), cmp.Or(wrong, err))
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
