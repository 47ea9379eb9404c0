package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source/memory"
)

// effects records what the sinks of all members store: outputs and dead letters.
type effects struct {
	t *testing.T

	mu    sync.Mutex
	has   map[string]map[byte]bool // of each key: the messages with an effect
	epoch map[int32]int64          // of each partition: the highest whose effects are stored
}

// store records an effect. An output has its place behind the effects of all earlier messages of its key; the dead letter of
// a message may overtake earlier outputs, which go to another sink.
func (e *effects) store(m *keystrand.Message, letter bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := fmt.Sprint(m.Partition, " ", string(m.Key))
	if e.has[key] == nil {
		e.has[key] = map[byte]bool{}
	}
	if m.Epoch < e.epoch[m.Partition] {
		e.t.Errorf("I2: %d@%d is stored by epoch %d behind an effect of epoch %d", m.Partition, m.Offset, m.Epoch, e.epoch[m.Partition])
	}
	for n := range m.Value[0] {
		if !letter && !e.has[key][n] {
			e.t.Errorf("I1: output %d of key %s is stored before an effect of %d", m.Value[0], key, n)
		}
	}
	e.has[key][m.Value[0]], e.epoch[m.Partition] = true, m.Epoch
}

// flaky is a sink of a member: in trouble at random times, slow, and it refuses some messages.
type flaky struct {
	*effects

	letters bool
	r       *rand.Rand
	mu      *sync.Mutex // guards r
}

func (f flaky) draw(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.r.IntN(n)
}

func (f flaky) Open() (sink.Writer, error) { return f, nil }
func (f flaky) Close() error               { return nil }

func (f flaky) Check(ctx context.Context) error {
	if f.draw(3) == 0 {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (f flaky) Trouble() error {
	if f.letters && time.Now().Unix()%20 < 3 {
		return errNoTopic
	}
	return nil
}

func (f flaky) Write(ctx context.Context, ms []keystrand.Message) error {
	res := sink.NewResult(ms)
	wait := time.Duration(f.draw(300)) * time.Millisecond
	if f.draw(40) == 0 {
		wait = time.Duration(f.draw(5)) * time.Second // some Writes ignore the end of ctx for long
	}
	time.Sleep(wait)
	away := time.Now().Unix()%11 < 4
	for i := range ms {
		switch {
		case res.Behind(i):
		case ctx.Err() != nil && f.draw(2) == 0: // else it is stored all the same
			res.Fail(i, context.Cause(ctx))
		case away:
			res.Fail(i, errNoTopic)
		case f.draw(30) == 0:
			res.Fail(i, keystrand.Permanent(errBoom))
		default:
			f.store(&ms[i], f.letters)
		}
	}
	return res.Err()
}

// Members come and go while their sinks are in trouble, refuse and hang: the effects of a key stay in order, and none is
// stored by an owner behind those of the next one.
func TestSinksInTroubleKeepOrderAcrossHandOvers(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const partitions, keys, each = 4, 5, 40
				r, mu := rand.New(rand.NewPCG(seed, 1)), new(sync.Mutex)
				e := &effects{t: t, has: map[string]map[byte]bool{}, epoch: map[int32]int64{}}
				out, dlq, spare := flaky{e, false, r, mu}, flaky{e, true, r, mu}, flaky{e, true, r, mu}
				log := memory.NewLog("posts", partitions)
				for p := range int32(partitions) {
					for n := range each {
						for k := range keys {
							log.Append(p, keystrand.Message{Key: fmt.Append(nil, "k", k), Value: []byte{byte(n)}})
						}
					}
				}
				log.Close()
				member := func() *running {
					b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
						TransformFunc(func(ctx context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
							select {
							case <-time.After(time.Duration(out.draw(100)) * time.Millisecond):
							case <-ctx.Done():
								return context.Cause(ctx)
							}
							if out.draw(20) == 0 {
								return errors.New("no")
							}
							emit(*m)
							return nil
						}).To(out).
						OnFailure(pipeline.DeadLetter(dlq, pipeline.Fallback(pipeline.DeadLetter(spare, pipeline.Fallback(pipeline.BlockFor(0, 0)))))).
						Limits(pipeline.Limits{Writers: 2}).
						Timing(pipeline.Timing{CommitInterval: 300 * time.Millisecond, DrainTimeout: 3 * time.Second})
					if out.draw(2) == 0 {
						b.AbandonStuck()
					}
					return start(t, b)
				}
				members := map[*running]bool{member(): true}
				for range 40 {
					time.Sleep(time.Duration(out.draw(4000)) * time.Millisecond)
					if len(members) < 3 && out.draw(2) == 0 {
						members[member()] = true
						continue
					}
					for m := range maps.Keys(members) {
						conserve(t, m.Snapshot())
						_ = m.stop() // an UnwrittenError
						delete(members, m)
						break
					}
				}
				last := member()
				if err := last.wait(); err != nil {
					t.Fatal(err)
				}
				for m := range maps.Keys(members) {
					_ = m.wait()
				}
				for key, has := range e.has {
					if len(has) != each {
						t.Errorf("I3: %d messages of key %s have effects, want %d", len(has), key, each)
					}
				}
				if len(e.has) != partitions*keys {
					t.Errorf("%d keys have effects", len(e.has))
				}
			})
		})
	}
}
