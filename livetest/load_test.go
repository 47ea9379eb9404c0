//go:build unix

package livetest

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// begin fills the stream, or begins to: half of the messages at once, the rest as the members come along, so that they meet
// a backlog and the end of the log. The returned function waits for the end of that.
func (r *run) begin() (stop func()) {
	r.t.Helper()
	if r.fill != nil {
		ms, err := r.fill(r)
		r.must(err)
		r.produced, r.messages, r.loaded = ms, len(ms), true
		return func() {}
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Minute) // real time: hang guard
	ended := make(chan error, 1)
	go func() { ended <- r.load(ctx, newKeys(r, r.seed)) }()
	return func() {
		cancel()
		if err := <-ended; err != nil && !r.t.Failed() {
			r.t.Error(err)
		}
	}
}

func (r *run) load(ctx context.Context, keys *keys) error {
	messages := r.messages
	for made, n := 0, messages/2; made < messages; n = min(messages/20, messages-made) {
		if err := r.produce(ctx, keys.next(n)); err != nil {
			return err
		}
		for made += n; ; {
			if _, left := r.state(); left < messages/5 {
				break
			}
			time.Sleep(10 * time.Millisecond) // real time: other processes settle
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = true
	return nil
}

// produce appends messages to the stream and to those that must be settled.
func (r *run) produce(ctx context.Context, ms []Message) error {
	if err := r.cluster.produce(ctx, ms); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.produced = append(r.produced, ms...)
	return nil
}

// keys makes messages with skewed keys. Each key is always in the same partition.
type keys struct {
	stream     string
	zipf       *rand.Zipf // the hottest key has about 1 % of the messages, so that its chain is no longer than the rest
	partitions uint32
	numbers    map[string]int64
}

func newKeys(r *run, seed uint64) *keys {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.1, 20, uint64(r.keys-1))
	return &keys{r.stream, zipf, uint32(r.partitions), map[string]int64{}}
}

func (k *keys) next(n int) []Message {
	ms := make([]Message, n)
	for i := range ms {
		key := fmt.Sprintf("k%d", k.zipf.Uint64())
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		ms[i] = Message{Place: Place{k.stream, int32(h.Sum32() % k.partitions)}, Key: key, Number: k.numbers[key]}
		k.numbers[key]++
	}
	return ms
}
