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
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/pulsar"
)

func TestLiveKafkaStart(t *testing.T)  { start(t, "kafka") }
func TestLivePulsarStart(t *testing.T) { start(t, "pulsar") }

// start makes sources that reach a service through a port: while it is closed, and when it opens.
func start(t *testing.T, service string) {
	t.Helper()
	c := connect(t, service)
	ctx, cancel := context.WithTimeout(t.Context(), guard) // real time: hang guard
	defer cancel()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().String()
	_ = l.Close() // from now on no process listens there
	a := c.access(newStream(t, c, 1), "start")
	scheme := a.Address[:strings.LastIndex(a.Address, "/")+1]
	behind := a.Address[len(scheme):]
	a.Address = scheme + port
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	logged := func(text string) bool {
		b, err := os.ReadFile(log.Name())
		return err == nil && bytes.Contains(b, []byte(text))
	}
	t.Run("StartTimeoutNamesAddressAndCause", func(t *testing.T) {
		a.StartTimeout = 2 * time.Second
		err := open(ctx, a, slog.New(slog.DiscardHandler))
		if !errors.Is(err, kafka.ErrStartTimeout) && !errors.Is(err, pulsar.ErrStartTimeout) ||
			!strings.Contains(err.Error(), port) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("error is %v, want ErrStartTimeout with %s and refused", err, port)
		}
	})
	t.Run("UnreachableAtStartIsWaitedFor", func(t *testing.T) {
		a.StartTimeout = time.Minute
		opened := make(chan error, 1)
		go func() { opened <- open(ctx, a, slog.New(slog.NewTextHandler(log, nil))) }()
		for !logged("refused") && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond) // real time: the source has its own pauses
		}
		forward(ctx, t, port, behind)
		if err := <-opened; err != nil || !logged(port) || service == "pulsar" && !logged(a.Stream) {
			t.Errorf("%v; the log names the address: %v, the topic: %v", err, logged(port), logged(a.Stream))
		}
	})
}

// open accepts the first partition of a source, and closes it.
func open(ctx context.Context, a access, log *slog.Logger) error {
	s, err := a.source(log)
	if err != nil {
		return err
	}
	p, err := s.Accept(ctx)
	if err == nil {
		err = p.Release(ctx)
	}
	return errors.Join(err, s.Close())
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
