package pulsar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/internal/pulsarprobe"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// start runs the source in the background. ctx carries the values of Accept's ctx, not its end: ownerships outlive a call.
func (s *Source) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.cancel = cancel
	s.mu.Unlock()
	begin := time.Now()
	s.calls.Go(func() {
		if s.open(ctx, begin) {
			s.discover(ctx, begin)
		}
	})
}

// open makes the client, and reports whether it has. It retries a constructor that hangs, until StartTimeout.
func (s *Source) open(ctx context.Context, begin time.Time) bool {
	const what = "make the client"
	pause := newBackoff(firstRetry, mostRetry)
	for {
		bounded, cancel := s.starting(ctx, begin)
		c, err := client.Call(bounded, &s.calls, s.connect, client.Client.Close)
		cancel()
		if errors.Is(err, client.ErrNoAnswer) {
			err = fmt.Errorf("%w (check that Config.Authentication answers)", err)
		}
		switch {
		case err == nil:
			return s.opened(ctx, c, what)
		case ctx.Err() != nil:
			return false
		case !errors.Is(err, client.ErrNoAnswer):
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

// opened records the client, or closes it if the source was closed meanwhile.
func (s *Source) opened(ctx context.Context, c client.Client, what string) bool {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.client = c
	}
	s.mu.Unlock()
	if closed {
		c.Close()
		return false
	}
	s.health.Works(ctx, what)
	return true
}

// starting bounds ctx by the rest of StartTimeout, if there is one.
func (s *Source) starting(ctx context.Context, begin time.Time) (context.Context, context.CancelFunc) {
	if s.cfg.StartTimeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, begin.Add(s.cfg.StartTimeout), fmt.Errorf("%w yet", client.ErrNoAnswer))
}

// dial makes the client, which connects on its first call.
func (s *Source) dial() (client.Client, error) {
	c, err := client.Dial(s.options(), client.Settings{
		QueueSize: s.cfg.ReceiverQueueSize, Keys: s.cfg.KeyReader, ChunkTimeout: s.cfg.ChunkTimeout,
	}, s.log)
	if err != nil {
		return nil, fmt.Errorf("pulsar: client for %s: %w", s.url, err)
	}
	return c, nil
}

func (s *Source) options() pulsar.ClientOptions {
	options := pulsar.ClientOptions{
		URL:                 pulsarprobe.Prefer(context.Background(), s.url),
		Authentication:      s.cfg.Authentication,
		TLSConfig:           s.cfg.TLS,
		TLSValidateHostname: true,
		ConnectionTimeout:   s.cfg.OperationTimeout,
		OperationTimeout:    s.cfg.OperationTimeout,
		KeepAliveInterval:   max(s.cfg.OperationTimeout, time.Second), // bounds the handshake; a silent broker is left after two
	}
	if s.cfg.Client != nil {
		s.cfg.Client(&options)
	}
	return options
}
