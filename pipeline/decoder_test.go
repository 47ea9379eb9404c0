package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

type post struct{ ID int }

// postLog returns a finite log of n posts. Those listed in bad cannot be decoded.
func postLog(n int, bad ...int) *memory.Log {
	log := memory.NewLog("posts", 1)
	for i := range n {
		log.Append(0, keystrand.Message{Value: fmt.Appendf(nil, `{"ID":%d}`, i)})
	}
	for range bad {
		log.Append(0, keystrand.Message{Value: []byte("{")})
	}
	log.Close()
	return log
}

// The key function decodes the message. The handler finds the value on every attempt, also after an hour's wait, for
// which the message gets a copy of its bytes.
func TestDecodedValueSurvivesRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, handled atomic.Int64
		posts := keystrand.NewDecoder[post](func(data []byte, v any) error { calls.Add(1); return json.Unmarshal(data, v) })
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, postLog(50)), nil)).
			Key(posts.Key(func(p post) keystrand.Key { return keystrand.KeyOfString(fmt.Sprint(p.ID % 5)) })).
			Handle(posts.Handle(func(_ context.Context, m *keystrand.Message, p post) error {
				if p.ID != int(m.Offset) {
					t.Errorf("message %d has the value of %d", m.Offset, p.ID)
				}
				if m.Attempt < 3 {
					return keystrand.RetryAfter(time.Hour, errors.New("busy"))
				}
				handled.Add(1)
				return nil
			})))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		if calls.Load() != 50 || handled.Load() != 50 {
			t.Errorf("%d of 50 messages handled; decoded %d times, want 50", handled.Load(), calls.Load())
		}
	})
}

// A message that the key function cannot decode fails permanently and never reaches the handler. Its dead letter has
// its bytes.
func TestUndecodableMessageIsAPermanentFailure(t *testing.T) {
	for _, batches := range []bool{false, true} {
		for _, keyed := range []bool{false, true} {
			t.Run(fmt.Sprintf("batches %v, key function %v", batches, keyed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					posts := keystrand.NewDecoder[post](json.Unmarshal)
					var handled, permanent atomic.Int64
					dead := sinkmemory.New()
					toDead := pipeline.DeadLetter(dead)
					b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, postLog(20, 1, 2)), nil)).
						OnFailure(func(f pipeline.Failure) pipeline.Action {
							if f.Permanent {
								permanent.Add(1)
							}
							return toDead(f)
						})
					if batches {
						b.HandleBatch(posts.HandleBatch(func(_ context.Context, ms []*keystrand.Message, vs []post) error {
							time.Sleep(time.Second)
							for i := range vs {
								if vs[i].ID != int(ms[i].Offset) {
									t.Errorf("message %d has the value of %d", ms[i].Offset, vs[i].ID)
								}
							}
							handled.Add(int64(len(vs)))
							return nil
						}))
					} else {
						b.Handle(posts.Handle(func(context.Context, *keystrand.Message, post) error { handled.Add(1); return nil }))
					}
					if keyed {
						b.Key(posts.Key(func(p post) keystrand.Key { return keystrand.KeyOfString(fmt.Sprint(p.ID % 2)) }))
					} else {
						b.Key(keystrand.ByPartition) // so that batches have the messages of both kinds
					}
					run := start(t, b)
					if err := run.wait(); err != nil {
						t.Fatal(err)
					}
					letters := dead.Messages()
					if handled.Load() != 20 || permanent.Load() != 2 || len(letters) != 2 {
						t.Errorf("%d handled, %d failed for good, %d dead letters; want 20, 2, 2", handled.Load(), permanent.Load(), len(letters))
					}
					for _, l := range letters {
						if string(l.Value) != "{" {
							t.Errorf("a dead letter has the value %q", l.Value)
						}
					}
				})
			})
		}
	}
}

// A decoded value references the bytes it was decoded from. It must not keep the source's chunk in memory.
func TestWaitingDecodedMessageKeepsNoFetchBuffer(t *testing.T) {
	const n, chunk = 500, 64 << 10
	log := memory.Generate("posts", 1, n, func(_ int32, offset int64, m *keystrand.Message) {
		b := make([]byte, chunk)
		m.Value = b[:copy(b, fmt.Sprintf(`{"ID":%d}`, offset))]
	})
	posts := keystrand.NewDecoder[post](json.Unmarshal)
	before := heap()
	called := make(chan struct{}, n)
	run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).
		Key(posts.Key(func(p post) keystrand.Key { return keystrand.KeyOfString(fmt.Sprint(p.ID)) })).
		HandleFunc(func(context.Context, *keystrand.Message) error {
			called <- struct{}{}
			return keystrand.RetryAfter(time.Hour, errors.New("busy"))
		}).
		Limits(pipeline.Limits{FetchMessages: 20}).
		Timing(pipeline.Timing{DrainTimeout: time.Millisecond}))
	for range n {
		<-called
	}
	for run.part(t, 0).Parked < n {
		runtime.Gosched()
	}
	if grown := heap() - before; grown > n*chunk/10 {
		t.Errorf("I5: %d messages of 10 bytes keep %d bytes", n, grown)
	}
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}
}
