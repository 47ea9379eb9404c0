package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// reach waits until a broker answers. It returns an error when waiting cannot help: wrong credentials or certificates,
// TLS or SASL on one side only.
func (s *Source) reach(ctx context.Context) error {
	bo := newBackoff(s.cfg.JoinBackoff)
	for {
		var errs []error
		for _, addr := range s.brokers {
			err := s.probe(ctx, addr)
			if err == nil {
				s.health.Works(ctx, "connect")
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if f := s.fatal(err); f != nil {
				return f
			}
			if f := s.diagnose(ctx, addr, err); f != nil {
				return f
			}
			errs = append(errs, fmt.Errorf("broker %s: %w", addr, err))
		}
		s.health.Fails(ctx, "connect", errors.Join(errs...))
		if !sleep(ctx, bo.NextBackOff()) {
			return context.Cause(ctx)
		}
	}
}

// probe asks one broker for the brokers of the cluster.
func (s *Source) probe(ctx context.Context, addr string) error { return ask(ctx, s.dialer, addr) }

func ask(ctx context.Context, d *kafkago.Dialer, addr string) error {
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was written that could be lost
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	_, err = conn.Brokers()
	return err
}

// diagnose finds out why a broker closes the connection or answers nonsense, when TLS or SASL are on one side only. A
// broker says nothing about either, it just closes; so does one that is being stopped. Hence the question is asked
// again in the other way: an answer to that is proof.
func (s *Source) diagnose(ctx context.Context, addr string, cause error) error {
	var failed *net.OpError
	if errors.As(cause, &failed) && failed.Op == "dial" {
		return nil // nobody is there to be asked
	}
	if s.cfg.TLS == nil && s.speaksTLS(ctx, addr) {
		return fmt.Errorf("kafka: broker %s expects TLS, and Config.TLS is not set: %w", addr, cause)
	}
	if s.cfg.TLS != nil && !s.speaksTLS(ctx, addr) && s.speaksPlain(ctx, addr) {
		return fmt.Errorf("kafka: broker %s does not speak TLS, but Config.TLS is set: %w (is it another port?)", addr, cause)
	}
	if s.cfg.SASL == nil && s.wantsSASL(ctx, addr) {
		return fmt.Errorf("kafka: broker %s expects SASL, and Config.SASL is not set: %w", addr, cause)
	}
	return nil
}

func (s *Source) speaksTLS(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	conn, err := s.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	// Only the question whether TLS is spoken; nothing is sent over it.
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) == nil
}

func (s *Source) speaksPlain(ctx context.Context, addr string) bool {
	d := *s.dialer
	d.TLS, d.SASLMechanism, d.Timeout = nil, nil, diagnoseTimeout
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // nothing was written that could be lost
	if err := conn.SetDeadline(time.Now().Add(diagnoseTimeout)); err != nil {
		return false
	}
	_, err = conn.ApiVersions()
	return err == nil
}

// wantsSASL offers a mechanism that no broker has: a port with SASL answers which it has instead, one without says that
// it is not expected, or closes.
func (s *Source) wantsSASL(ctx context.Context, addr string) bool {
	d := *s.dialer
	d.SASLMechanism, d.Timeout = noMechanism{}, diagnoseTimeout
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, kafkago.UnsupportedSASLMechanism)
}

// diagnoseTimeout bounds each question of diagnose. Whoever speaks another protocol may never answer.
const diagnoseTimeout = 3 * time.Second

type noMechanism struct{}

func (noMechanism) Name() string { return "KEYSTRAND-WHICH" }

func (noMechanism) Start(context.Context) (sasl.StateMachine, []byte, error) {
	return nil, nil, errors.New("kafka: no such mechanism")
}

func (s *Source) connections() (*kafkago.Dialer, *kafkago.Transport) {
	d := &kafkago.Dialer{
		ClientID:      s.cfg.ClientID,
		DialFunc:      s.cfg.Dial,
		Timeout:       dialTimeout,
		TLS:           s.cfg.TLS,
		SASLMechanism: s.cfg.SASL,
	}
	t := &kafkago.Transport{
		ClientID: s.cfg.ClientID,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return s.cfg.Dial(ctx, network, addr)
		},
		DialTimeout:    dialTimeout,
		TLS:            s.cfg.TLS,
		SASL:           s.cfg.SASL,
		MetadataTTL:    time.Second,
		MetadataTopics: s.topics,
	}
	return d, t
}
