package pulsar

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// shuffled returns the numbers below n, each at most a window away from its place.
func shuffled(n, window int) []int {
	r := rand.New(rand.NewPCG(1, 2))
	order, open := make([]int, 0, n), []int(nil)
	for next := 0; len(order) < n; {
		for next < n && len(open) < window {
			open = append(open, next)
			next++
		}
		i := 0
		if window > 1 {
			i = r.IntN(len(open))
		}
		order = append(order, open[i])
		open[i] = open[len(open)-1]
		open = open[:len(open)-1]
	}
	return order
}

// countingClient counts acknowledgement requests and their ids.
type countingClient struct {
	client.Client
	requests, ids atomic.Int64
}

func (c *countingClient) Attach(o client.Attachment) (client.Consumer, error) {
	cons, err := c.Client.Attach(o)
	return countingConsumer{cons, c}, err
}

type countingConsumer struct {
	client.Consumer
	counts *countingClient
}

func (c countingConsumer) AckIDList(ids []pulsar.MessageID) error {
	c.counts.requests.Add(1)
	c.counts.ids.Add(int64(len(ids)))
	return c.Consumer.AckIDList(ids)
}

// BenchmarkAcknowledge settles 100,000 messages of a real broker, in order and in random order within a window of 10,000,
// and commits after every 1,000.
func BenchmarkAcknowledge(b *testing.B) {
	const total, every = 100_000, 1_000
	for _, c := range []struct {
		name   string
		batch  uint
		window int
	}{{"alone/in order", 1, 1}, {"alone/random", 1, 10_000}, {"batches of 100/in order", 100, 1}, {"batches of 100/random", 100, 10_000}} {
		b.Run(c.name, func(b *testing.B) {
			l := live{url: liveEnv(b, "KEYSTRAND_PULSAR", "pulsar")}
			for range b.N {
				b.StopTimer()
				topic := fmt.Sprintf("persistent://public/default/ack%d", time.Now().UnixNano())
				w := l.producer(b, topic, func(o *pulsar.ProducerOptions) {
					o.DisableBatching, o.BatchingMaxMessages = c.batch == 1, c.batch
				})
				if err := send(b.Context(), w, numbered(0, total)...); err != nil {
					b.Fatal(err)
				}
				s, err := New(l.url, "s", []string{topic}, Config{Alone: true})
				if err != nil {
					b.Fatal(err)
				}
				counts := &countingClient{}
				dial := s.connect
				s.connect = func() (c client.Client, err error) {
					counts.Client, err = dial()
					return counts, err
				}
				p, err := s.Accept(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				offsets := make([]int64, 0, total)
				for len(offsets) < total {
					batch := source.Batch{MaxMessages: 1000, MaxBytes: 1 << 20}
					if err := p.Fetch(b.Context(), &batch); err != nil {
						b.Fatal(err)
					}
					for i := range batch.Messages {
						offsets = append(offsets, batch.Messages[i].Offset)
					}
				}
				tr := commit.NewTracker(&commit.Progress{})
				if _, _, err := tr.Track(offsets, offsets[total-1]+1); err != nil {
					b.Fatal(err)
				}
				order := shuffled(total, c.window)
				b.StartTimer()
				for i, n := range order {
					if err := tr.Settle([]int64{int64(n)}); err != nil {
						b.Fatal(err)
					}
					if (i+1)%every == 0 {
						if _, err := p.Commit(b.Context(), tr.Progress()); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(counts.requests.Load()), "requests")
				b.ReportMetric(float64(counts.ids.Load()), "ids")
				_ = p.Release(b.Context())
				_ = s.Close()
			}
			b.ReportMetric(float64(total)*float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
