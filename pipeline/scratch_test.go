package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// A handler changes its message, for example unzips the value. This changes neither the message of the next attempt,
// nor the count of attempts, nor the dead letter. Snapshots run meanwhile, for the race detector.
func TestChangesOfAMessageByItsHandlerAffectNothingElse(t *testing.T) {
	errBroken := errors.New("broken")
	for name, stage := range map[string]func(b *pipeline.Builder, change func(*keystrand.Message)){
		"handler": func(b *pipeline.Builder, change func(*keystrand.Message)) {
			b.Handle(keystrand.HandlerFunc(func(_ context.Context, m *keystrand.Message) error { change(m); return errBroken }))
		},
		"batch": func(b *pipeline.Builder, change func(*keystrand.Message)) {
			b.HandleBatch(keystrand.BatchHandlerFunc(func(_ context.Context, ms []*keystrand.Message) error {
				change(ms[0])
				return &keystrand.BatchError{Err: errBroken}
			}))
		},
		"transformer": func(b *pipeline.Builder, change func(*keystrand.Message)) {
			b.Transform(keystrand.TransformerFunc(func(_ context.Context, m *keystrand.Message, _ func(keystrand.Message)) error {
				change(m)
				return errBroken
			})).To(sinkmemory.New())
		},
		"middleware": func(b *pipeline.Builder, change func(*keystrand.Message)) {
			b.Use(func(keystrand.Next) keystrand.Next {
				return func(_ context.Context, c *keystrand.Call) error {
					change(c.Messages[0])
					c.Messages = c.Messages[:0:0]
					return errBroken
				}
			}).Handle(keystrand.HandlerFunc(nothing))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keystrand.Message{Key: []byte("a"), Value: []byte("value"), Headers: []keystrand.Header{{Key: "h"}}})
				dlq := sinkmemory.New()
				var tries []string
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).OnFailure(pipeline.DeadLetter(dlq)).
					Use(middleware.Retry(middleware.RetryPolicy{MaxAttempts: 3}))
				var now atomic.Bool
				stage(b, func(m *keystrand.Message) {
					tries = append(tries, strconv.Itoa(int(m.Attempt))+" "+string(m.Value)+" "+m.Stream)
					for now.Store(true); now.Load(); { // while snapshots are taken
						*m = keystrand.Message{Value: append([]byte("changed "), m.Value...), Stream: "other"}
						time.Sleep(time.Millisecond)
					}
				})
				run := start(t, b)
				for range 10_000 {
					if now.Load() {
						_ = run.Snapshot()
						now.Store(false)
					}
					time.Sleep(time.Millisecond)
				}
				if want := []string{"1 value posts", "2 value posts", "3 value posts"}; !slices.Equal(tries, want) {
					t.Errorf("the handler saw attempts, values and streams %q, want %q", tries, want)
				}
				letters := dlq.Messages()
				if len(letters) != 1 {
					t.Fatalf("%d dead letters, want 1", len(letters))
				}
				l := letters[0]
				stream, _ := l.Header(pipeline.HeaderStream)
				_, kept := l.Header("h")
				if string(l.Value) != "value" || string(l.Key) != "a" || string(stream) != "posts" || !kept {
					t.Errorf("the dead letter has key %q, value %q, headers %v", l.Key, l.Value, l.Headers)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
