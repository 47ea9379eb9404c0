package pulsar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// start begins to run in the background; ctx carries the values of Accept's, not its end: what is owned outlives any one
// call.
func (s *Source) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.cancel = cancel
	s.mu.Unlock()
	begin := time.Now()
	s.running.Go(func() {
		if s.open(ctx, begin) {
			s.discover(ctx, begin)
		}
	})
}

// open makes the client, and reports whether it has. That asks for the first token, which can hang: then it is tried again, until
// StartTimeout.
func (s *Source) open(ctx context.Context, begin time.Time) bool {
	const what = "make the client"
	pause := newBackoff(firstRetry, mostRetry)
	for {
		bounded, cancel := s.starting(ctx, begin)
		c, err := call(bounded, s, s.connect, client.close)
		cancel()
		if errors.Is(err, errNoAnswer) {
			err = fmt.Errorf("%w (does Config.Authentication answer?)", err)
		}
		switch {
		case err == nil:
			return s.opened(ctx, c, what)
		case ctx.Err() != nil:
			return false
		case !errors.Is(err, errNoAnswer):
			s.fail(err)
			return false
		case s.cfg.StartTimeout > 0 && time.Since(begin) >= s.cfg.StartTimeout:
			s.fail(fmt.Errorf("%w: %s: subscription %q, topics %q: %s: %w", ErrStartTimeout, s.url, s.subscription, s.topics, what, err))
			return false
		}
		s.health.Fails(ctx, what, err)
		if !sleep(ctx, pause.NextBackOff()) {
			return false
		}
	}
}

// opened notes the client, or closes it when the source was closed meanwhile.
func (s *Source) opened(ctx context.Context, c client, what string) bool {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.client = c
	}
	s.mu.Unlock()
	if closed {
		c.close()
		return false
	}
	s.health.Works(ctx, what)
	return true
}

// starting bounds ctx by what is left of StartTimeout, if there is one.
func (s *Source) starting(ctx context.Context, begin time.Time) (context.Context, context.CancelFunc) {
	if s.cfg.StartTimeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, begin.Add(s.cfg.StartTimeout), fmt.Errorf("%w yet", errNoAnswer))
}

// dial makes the client. It connects when it is first asked something.
func (s *Source) dial() (client, error) {
	c, err := pulsar.NewClient(s.options())
	if err != nil {
		return nil, fmt.Errorf("pulsar: client for %s: %w", s.url, err)
	}
	return &library{Client: c, cfg: s.cfg}, nil
}

// options returns what the client is made of. The logger is ours whatever Config.Client says: what the library writes is
// the only notice that a connection goes, and with it an ownership.
func (s *Source) options() pulsar.ClientOptions {
	options := pulsar.ClientOptions{
		URL:                 s.url,
		Authentication:      s.cfg.Authentication,
		TLSConfig:           s.cfg.TLS,
		TLSValidateHostname: true,
		ConnectionTimeout:   s.cfg.OperationTimeout,
		OperationTimeout:    s.cfg.OperationTimeout,
	}
	if s.cfg.Client != nil {
		s.cfg.Client(&options)
	}
	options.Logger = s.lines.logger()
	return options
}
