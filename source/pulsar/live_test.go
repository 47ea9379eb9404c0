package pulsar

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsartest"
)

// live is a real broker.
type live struct {
	url   string
	admin *pulsartest.Admin
}

func liveEnv(tb testing.TB, name, service string) string {
	tb.Helper()
	v := os.Getenv(name)
	if v == "" {
		tb.Skipf("%s is not set: start the broker with \"tools/services/services up %s\", and eval what its env prints", name, service)
	}
	return v
}

// liveBroker is a broker that numbers messages. It also keeps acknowledgements within batches, which the source never sends.
func liveBroker(t *testing.T) live {
	t.Helper()
	return liveAt(t, "KEYSTRAND_PULSAR", "pulsar")
}

// liveDefault is a broker with default settings: it does not number messages.
func liveDefault(t *testing.T) live {
	t.Helper()
	return liveAt(t, "KEYSTRAND_PULSAR_DEFAULT", "pulsar-default")
}

func liveAt(t *testing.T, name, service string) live {
	t.Helper()
	return live{url: liveEnv(t, name, service), admin: &pulsartest.Admin{URL: liveEnv(t, name+"_ADMIN", service)}}
}

// topic creates a topic for one test, with this many partitions, or none.
func (l live) topic(t *testing.T, partitions int) string {
	t.Helper()
	name := fmt.Sprintf("persistent://public/default/t%d", time.Now().UnixNano())
	if err := l.admin.Create(t.Context(), name, partitions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.admin.Remove(context.Background(), name, partitions) })
	return name
}

// client is a client of the test itself.
func (l live) client(tb testing.TB) pulsar.Client {
	tb.Helper()
	c, err := pulsar.NewClient(pulsar.ClientOptions{URL: l.url, Logger: log.DefaultNopLogger(), OperationTimeout: 10 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// producer writes to one partition, or to an unpartitioned topic.
func (l live) producer(tb testing.TB, topic string, change func(*pulsar.ProducerOptions)) pulsar.Producer {
	tb.Helper()
	o := pulsar.ProducerOptions{Topic: topic, DisableBatching: true}
	if change != nil {
		change(&o)
	}
	p, err := l.client(tb).CreateProducer(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// send writes messages in order and waits for their confirmation.
func send(ctx context.Context, p pulsar.Producer, msgs ...keystrand.Message) error {
	errs := make(chan error, len(msgs))
	for _, m := range msgs {
		out := &pulsar.ProducerMessage{Key: string(m.Key), Payload: m.Value}
		for _, h := range m.Headers {
			if out.Properties == nil {
				out.Properties = make(map[string]string)
			}
			out.Properties[h.Key] = string(h.Value)
		}
		p.SendAsync(ctx, out, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { errs <- err })
	}
	if err := p.FlushWithCtx(ctx); err != nil {
		return err
	}
	for range msgs {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// testLog writes to the log of a test.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

// logLevel is debug to include the lines of the client library.
func logLevel() slog.Level {
	if os.Getenv("KEYSTRAND_PULSAR_DEBUG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// config is the configuration of live tests.
func (l live) config(t *testing.T) Config {
	t.Helper()
	cfg := Config{OperationTimeout: 5 * time.Second, WatchInterval: 2 * time.Second, BusyTimeout: 20 * time.Second}
	if testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: logLevel()}))
	}
	return cfg
}
