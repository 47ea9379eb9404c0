package pulsar

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"

	"github.com/keystrand/keystrand"
)

// live is a real broker.
type live struct {
	url, admin string
	token      string
}

func liveEnv(tb testing.TB, name, service string) string {
	tb.Helper()
	v := os.Getenv(name)
	if v == "" {
		tb.Skipf("%s is not set: start the broker with \"tools/services/services up %s\", and eval what its env prints", name, service)
	}
	return v
}

// liveBroker is a broker with everything switched on that the source can use.
func liveBroker(t *testing.T) live {
	t.Helper()
	return live{url: liveEnv(t, "KEYSTRAND_PULSAR", "pulsar"), admin: liveEnv(t, "KEYSTRAND_PULSAR_ADMIN", "pulsar")}
}

// liveDefault is a broker as it comes: it gives no index, and ignores acknowledgements within a batch.
func liveDefault(t *testing.T) live {
	t.Helper()
	return live{url: liveEnv(t, "KEYSTRAND_PULSAR_DEFAULT", "pulsar-default"), admin: liveEnv(t, "KEYSTRAND_PULSAR_DEFAULT_ADMIN", "pulsar-default")}
}

// call asks the broker's web service; 404 and 412 (not found) are errors like others.
func (l live) call(ctx context.Context, method, path string, body any) (string, error) {
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return "", err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, l.admin+"/admin/v2/"+path, bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if l.token != "" {
		req.Header.Set("Authorization", "Bearer "+l.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, text)
	}
	return string(text), err
}

// topic makes a topic of its own for a test, with this many partitions, or none.
func (l live) topic(t *testing.T, partitions int) string {
	t.Helper()
	name := fmt.Sprintf("persistent://public/default/t%d", time.Now().UnixNano())
	if err := l.create(t.Context(), name, partitions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.remove(context.Background(), name, partitions) })
	return name
}

// path is where the web service keeps a topic.
func path(topic string) string { return strings.Replace(topic, "://", "/", 1) }

func (l live) create(ctx context.Context, topic string, partitions int) error {
	var err error
	if partitions == 0 {
		_, err = l.call(ctx, http.MethodPut, path(topic), nil)
	} else {
		_, err = l.call(ctx, http.MethodPut, path(topic)+"/partitions", partitions)
	}
	return err
}

func (l live) remove(ctx context.Context, topic string, partitions int) error {
	var err error
	if partitions == 0 {
		_, err = l.call(ctx, http.MethodDelete, path(topic)+"?force=true", nil)
	} else {
		_, err = l.call(ctx, http.MethodDelete, path(topic)+"/partitions?force=true", nil)
	}
	return err
}

// client is a client for what tests do beside the source.
func (l live) client(tb testing.TB) pulsar.Client {
	tb.Helper()
	c, err := pulsar.NewClient(pulsar.ClientOptions{URL: l.url, Logger: log.DefaultNopLogger(), OperationTimeout: 10 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// producer writes to one partition, or to a topic without any.
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

// send writes messages in order and waits for them.
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

// logLevel is debug where the client library is to be heard too.
func logLevel() slog.Level {
	if os.Getenv("KEYSTRAND_PULSAR_DEBUG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// config is what live tests run with.
func (l live) config(t *testing.T) Config {
	t.Helper()
	cfg := Config{OperationTimeout: 5 * time.Second, WatchInterval: 2 * time.Second, BusyTimeout: 20 * time.Second}
	if testing.Verbose() {
		cfg.Logger = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: logLevel()}))
	}
	return cfg
}
