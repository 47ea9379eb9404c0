//go:build unix

package livetest

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"
)

// begin fills the stream, or begins to. What it returns ends that.
func (r *run) begin() (stop func()) {
	r.t.Helper()
	if r.setup.fill != nil {
		ms, err := r.setup.fill(r)
		if err != nil {
			r.t.Fatal(err)
		}
		r.produced, r.setup.messages = ms, len(ms)
		r.loaded.Store(true)
		return func() {}
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Minute) // real time: hang guard
	loaded := make(chan error, 1)
	go func() { loaded <- r.load(ctx) }()
	return func() {
		cancel()
		if err := <-loaded; err != nil && !r.t.Failed() {
			r.t.Error(err)
		}
	}
}

// load produces the scenario's messages: half at once, the rest as the members come along, so that they meet a backlog
// and the end of the log.
func (r *run) load(ctx context.Context) error {
	keys := newKeys(r.seed, r.setup)
	for made := 0; made < r.setup.messages; {
		n := min(r.setup.messages/20, r.setup.messages-made)
		if made == 0 {
			n = r.setup.messages / 2
		}
		ms := make([]Message, n)
		for i := range ms {
			ms[i] = keys.next(r.stream)
		}
		if err := r.cluster.Produce(ctx, ms); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		r.mu.Lock()
		r.produced = append(r.produced, ms...)
		r.mu.Unlock()
		made += n
		if err := r.behind(ctx, made); err != nil {
			return err
		}
	}
	r.loaded.Store(true)
	return nil
}

// behind waits until less than a fifth of the messages are waiting.
func (r *run) behind(ctx context.Context, made int) error {
	size := int64(r.setup.messages / 5)
	for ctx.Err() == nil {
		if settled := r.settledNow.Load(); int64(made)-settled < size {
			return nil
		}
		time.Sleep(10 * time.Millisecond) // real time: other processes settle
	}
	return ctx.Err()
}

// keys makes skewed keys; each is always in the same partition.
type keys struct {
	zipf       *rand.Zipf // the hottest has about 1 % of the messages, so that its chain is no longer than the rest
	partitions uint32
	numbers    map[string]int64
}

func newKeys(seed uint64, s scenario) *keys {
	return &keys{zipf: rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.1, 20, uint64(s.keys-1)), partitions: uint32(s.partitions), numbers: map[string]int64{}}
}

func (k *keys) next(stream string) Message {
	key := fmt.Sprintf("k%d", k.zipf.Uint64())
	h := fnv.New32a()
	_, _ = io.WriteString(h, key)
	n := k.numbers[key]
	k.numbers[key]++
	return Message{Place: Place{stream, int32(h.Sum32() % k.partitions)}, Key: key, Number: n}
}
