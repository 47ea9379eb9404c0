package pulsar

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// Partitions are paused because Fetch is not called, some of them within a message in chunks, until the library's timeout has
// passed. Then the message is whole, or with a ChunkTimeout lost and logged.
func TestLiveLateChunks(t *testing.T) {
	l := liveBroker(t)
	for name, keeps := range map[string]bool{"kept": true, "given up": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told atomic.Int64
			var partitions []source.Partition
			for ahead := client.ChannelSize; ahead < client.ChannelSize+8; ahead++ {
				topic := l.topic(t, 0)
				plain := l.producer(t, topic, nil)
				if err := send(t.Context(), plain, numbered(0, ahead)...); err != nil {
					t.Fatal(err)
				}
				chunked := l.producer(t, topic, func(o *pulsar.ProducerOptions) { o.EnableChunking, o.ChunkMaxMessageSize = true, 1000 })
				if err := send(t.Context(), chunked, keystrand.Message{Value: fmt.Append(nil, strings.Repeat("x", 10_000))}); err != nil {
					t.Fatal(err)
				}
				if err := send(t.Context(), plain, keystrand.Message{Value: []byte("last")}); err != nil {
					t.Fatal(err)
				}
				cfg := l.config(t)
				cfg.ReceiverQueueSize, cfg.ChunkTimeout = 4, time.Second
				r := l.reader(t, cfg, "s", topic)
				if r.s.log.On.Dropped = nil; !keeps {
					r.s.log.On.Dropped = func(topic, line string) { r.s.dropped(topic, line); told.Add(1) }
				}
				p := r.accept()
				defer release(t, p)
				partitions = append(partitions, p)
			}
			time.Sleep(5 * time.Second) // real time: the library's
			lost := 0
			for _, p := range partitions {
				came, value := false, ""
				for value != "last" {
					m := read(t, p, 1)[0]
					value = string(m.Value)
					came = came || len(value) == 10_000
				}
				if !came {
					lost++
				}
			}
			t.Logf("%d of %d messages in chunks are lost, %d chunks told", lost, len(partitions), told.Load())
			switch {
			case keeps && lost > 0:
				t.Errorf("%d late messages are lost", lost)
			case !keeps && (lost == 0 || told.Load() < int64(lost)):
				t.Errorf("%d messages lost and %d chunks logged, want some, and each logged", lost, told.Load())
			}
		})
	}
}
