package kafka

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// syncBuffer is a log that is written from several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

// A broker that does not answer is logged, delays no other one, and no Write beyond its ctx.
func TestSilentBrokerOfASinkIsLoggedAndSkipped(t *testing.T) {
	for name, brokers := range map[string][]string{
		"alone": {"silent:1"}, "first": {"silent:1", "localhost:9001"}, "last": {"localhost:9001", "silent:1"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 { // the library shuffles the brokers
				silentSink(t, brokers)
			}
		})
	}
}

func silentSink(t *testing.T, brokers []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "t"))
		log := &syncBuffer{}
		s, err := New(brokers, "t", Config{Logger: slog.New(slog.NewTextHandler(log, nil)), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "silent:1" {
				return f.net.DialContext(ctx, network, address)
			}
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far); _ = far.Close() }()
			return near, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		patience := 2 * time.Second
		if len(brokers) > 1 {
			patience = time.Minute
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began := time.Now()
		for err = w.Write(ctx, keyed("a=1")); err != nil && ctx.Err() == nil; {
			err = w.Write(ctx, keyed("a=1"))
		}
		took := time.Since(began)
		if len(brokers) == 1 && (err == nil || errors.Is(err, io.EOF) || took > 2*time.Second || !strings.Contains(log.String(), "waiting for Kafka")) {
			t.Errorf("Write = %v after %v; log: %s", err, took, log)
		}
		if len(brokers) > 1 && (err != nil || took > 2*time.Second) {
			t.Errorf("Write = %v after %v; log: %s", err, took, log)
		}
		if err := errors.Join(w.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
}
