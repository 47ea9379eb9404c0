//go:build unix

package livetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/pulsar"
)

// opens accepts the first partition of a source, and closes it.
func opens(ctx context.Context, t *testing.T, s source.Source, err error) error {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Accept(ctx)
	if err == nil {
		err = p.Release(ctx)
	}
	if closed := s.Close(); closed != nil {
		t.Error(closed)
	}
	return err
}

// closedPort returns an address on which no process listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// forward lets a port lead to another address.
func forward(ctx context.Context, t *testing.T, port, address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			go pass(in, out)
			go pass(out, in)
		}
	}()
}

// opener makes a source that reaches its service through a port.
type opener func(port, topic string, timeout time.Duration, log *slog.Logger) (source.Source, error)

// start makes sources that reach a service through a port: while it is closed, and when it opens.
func start(t *testing.T, service string, timeout error, open opener) {
	t.Helper()
	c := connect(t, service)
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	port := closedPort(t)
	topic := newStream(t, c, 1)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	logged := func(text string) bool {
		b, err := os.ReadFile(log.Name())
		return err == nil && bytes.Contains(b, []byte(text))
	}
	t.Run("StartTimeoutNamesAddressAndCause", func(t *testing.T) {
		s, err := open(port, topic, 2*time.Second, slog.New(slog.DiscardHandler))
		if err := opens(ctx, t, s, err); !errors.Is(err, timeout) || !regexp.MustCompile(port+".*refused").MatchString(err.Error()) {
			t.Errorf("error is %v, want %v with %s and refused", err, timeout, port)
		}
	})
	t.Run("UnreachableAtStartIsWaitedFor", func(t *testing.T) {
		opened := make(chan error, 1)
		s, err := open(port, topic, time.Minute, slog.New(slog.NewTextHandler(log, nil)))
		go func() { opened <- opens(ctx, t, s, err) }()
		for !logged("refused") && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond) // real time: the source has its own pauses
		}
		forward(ctx, t, port, strings.TrimPrefix(c.access("", "").Address, "pulsar://"))
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		if !logged(port) {
			t.Error("the log does not name the address")
		}
	})
}

func TestLiveKafkaStart(t *testing.T) {
	start(t, "kafka", kafka.ErrStartTimeout, func(port, topic string, timeout time.Duration, log *slog.Logger) (source.Source, error) {
		cfg := kafka.Config{StartTimeout: timeout, SessionTimeout: 6 * time.Second, Logger: log}
		return kafka.New([]string{port}, topic+"-group", []string{topic}, cfg)
	})
}

func TestLivePulsarStart(t *testing.T) {
	start(t, "pulsar", pulsar.ErrStartTimeout, func(port, topic string, timeout time.Duration, log *slog.Logger) (source.Source, error) {
		cfg := pulsar.Config{StartTimeout: timeout, OperationTimeout: time.Second, Logger: log}
		return pulsar.New("pulsar://"+port, "group", []string{topic}, cfg)
	})
}
