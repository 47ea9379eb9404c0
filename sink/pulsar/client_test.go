package pulsar

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// optionsClient records the options of a producer and creates none.
type optionsClient struct {
	pulsar.Client
	got pulsar.ProducerOptions
}

func (c *optionsClient) CreateProducer(o pulsar.ProducerOptions) (pulsar.Producer, error) {
	c.got = o
	return nil, nil //nolint:nilnil // the test needs only the options
}

// Other tests use a fake, which ignores these options. They would pass even if the library sent or gave up messages by time, or
// mixed keys in a batch.
func TestProducerOptionsDisableSendingByTimeAndGivingUp(t *testing.T) {
	for mix, want := range map[bool]pulsar.BatcherBuilderType{false: pulsar.KeyBasedBatchBuilder, true: pulsar.DefaultBatchBuilder} {
		c := &optionsClient{}
		cfg := Config{MixKeys: mix, Compression: pulsar.LZ4}.withDefaults()
		l := &library{Client: c, cfg: &cfg}
		if _, err := l.Produce("out"); err != nil {
			t.Fatal(err)
		}
		o := c.got
		if o.BatcherBuilderType != want {
			t.Errorf("MixKeys %t: batches are built by %v, want %v", mix, o.BatcherBuilderType, want)
		}
		if o.SendTimeout != -1 {
			t.Errorf("SendTimeout is %v, want -1: a message that timed out may still be stored behind later ones of its key", o.SendTimeout)
		}
		if o.Name != "" {
			t.Errorf("the producer has the name %s: with deduplication the broker drops its messages as duplicates of an earlier producer", o.Name)
		}
		if o.DisableBatching {
			t.Error("batching is disabled")
		}
		if o.DisableBlockIfQueueFull {
			t.Error("a full queue is an error, want that SendAsync blocks")
		}
		if o.MaxPendingMessages < maxWave || o.BatchingMaxMessages < maxWave {
			t.Errorf("the queue has room for %d messages and a batch for %d, a wave has up to %d", o.MaxPendingMessages, o.BatchingMaxMessages, maxWave)
		}
		if o.BatchingMaxSize < math.MaxInt32 || o.BatchingMaxPublishDelay < 24*time.Hour {
			t.Errorf("a batch is cut at %d bytes or after %v: the first half of a key's messages could fail and the second be stored",
				o.BatchingMaxSize, o.BatchingMaxPublishDelay)
		}
		if o.Topic != "out" || o.CompressionType != pulsar.LZ4 || o.EnableChunking {
			t.Errorf("topic %s, compression %v, chunks %t", o.Topic, o.CompressionType, o.EnableChunking)
		}
	}
}

// The waves bound the unconfirmed messages. All writers would share a memory limit of the library, and a writer that waits for a
// silent partition would block the others.
func TestClientHasNoMemoryLimit(t *testing.T) {
	var got pulsar.ClientOptions
	s, err := New("pulsar://127.0.0.1:1", "out", Config{Client: func(o *pulsar.ClientOptions) { got = *o }})
	if err != nil {
		t.Fatal(err)
	}
	if got.MemoryLimitBytes != -1 {
		t.Errorf("MemoryLimitBytes is %d, want -1", got.MemoryLimitBytes)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// New has no ctx, and calls a user's function to get the token.
func TestNewTimesOutIfTheTokenFunctionBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		begin := time.Now()
		_, err := New("pulsar://127.0.0.1:1", "out", Config{
			Authentication: pulsar.NewAuthenticationTokenFromSupplier(func() (string, error) { <-hang; return "late", nil }),
			RequestTimeout: 3 * time.Second,
		})
		if d := time.Since(begin); d != 3*time.Second || err == nil || !strings.Contains(err.Error(), "Authentication") {
			t.Errorf("after %v New = %v, want an error about Config.Authentication after 3s", d, err)
		}
		close(hang) // the bubble ends only after the late client is closed
	})
}

func TestNewRequiresEitherATopicOrByStream(t *testing.T) {
	for _, c := range []struct {
		topic    string
		byStream bool
		want     string
	}{
		{"", false, "no topic: pass one, or set Config.ByStream"},
		{"orders", true, "use one of them"},
	} {
		_, err := New("pulsar://host:6650", c.topic, Config{ByStream: c.byStream})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("topic %q, ByStream %t: error %v does not contain %q", c.topic, c.byStream, err, c.want)
		}
	}
}
