package keystrand_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// A complete program. It handles the comments of a post in order, and the comments of different posts concurrently. The log
// is in memory here. To read a Kafka topic instead, replace the source with kafka.New.
func Example() {
	log := memory.NewLog("comments", 2)
	for i, text := range []string{"first", "second", "third"} {
		log.Append(0, keystrand.Message{Key: []byte("post-1"), Value: []byte(text)})
		log.Append(1, keystrand.Message{Key: []byte("post-2"), Value: fmt.Append(nil, i)})
	}
	log.Close() // a finite log: Run returns when every message is settled

	var mu sync.Mutex
	saved := map[string][]string{}
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
		HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			mu.Lock()
			defer mu.Unlock()
			saved[string(m.Key)] = append(saved[string(m.Key)], string(m.Value))
			return nil
		}).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := p.Run(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	for _, post := range slices.Sorted(maps.Keys(saved)) {
		fmt.Println(post, saved[post])
	}
	// Output:
	// post-1 [first second third]
	// post-2 [0 1 2]
}

// The error that a handler returns decides the outcome of its message.
func ExampleOutcomeOf() {
	for _, err := range []error{
		nil,
		keystrand.Skip("a duplicate"),
		keystrand.RetryAfter(0, errors.New("the service is busy")),
		keystrand.Permanent(errors.New("no such post")),
		errors.New("something else"),
	} {
		outcome, _ := keystrand.OutcomeOf(err)
		fmt.Println(outcome)
	}
	// Output:
	// handled
	// skipped
	// retry
	// permanent
	// failed
}

// A test of middleware. next replaces the handler and prints the message that it gets.
func ExampleNewCall() {
	upper := func(next keystrand.Next) keystrand.Next {
		return func(ctx context.Context, c *keystrand.Call) error {
			for _, m := range c.Messages {
				m.Value = bytes.ToUpper(m.Value)
			}
			return next(ctx, c)
		}
	}

	next := func(_ context.Context, c *keystrand.Call) error {
		fmt.Printf("the handler gets %s\n", c.Messages[0].Value)
		return errors.New("database unavailable")
	}
	m := &keystrand.Message{Value: []byte("first"), Attempt: 1}
	outcome, _ := keystrand.OutcomeOf(upper(next)(context.Background(), keystrand.NewCall(m)))
	fmt.Println("the outcome is", outcome)
	fmt.Printf("the message still has %s\n", m.Value)
	// Output:
	// the handler gets FIRST
	// the outcome is failed
	// the message still has first
}

// The key function and the handler share a decoder. Each comment is decoded once.
func ExampleDecoder() {
	type Comment struct{ Post, Text string }
	log := memory.NewLog("comments", 1)
	log.Append(0,
		keystrand.Message{Value: []byte(`{"Post": "post-1", "Text": "first"}`)},
		keystrand.Message{Value: []byte(`not JSON`)},
		keystrand.Message{Value: []byte(`{"Post": "post-1", "Text": "second"}`)})
	log.Close()

	comments := keystrand.NewDecoder[Comment](json.Unmarshal)
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
		Key(comments.Key(func(c Comment) keystrand.Key { return keystrand.KeyOfString(c.Post) })).
		Handle(comments.Handle(func(_ context.Context, m *keystrand.Message, c Comment) error {
			fmt.Println(m.Offset, c.Post, c.Text)
			return nil
		})).
		OnFailure(pipeline.Skip). // skips the message that is not JSON
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Run(context.Background()))
	// Output:
	// 0 post-1 first
	// 2 post-1 second
	// <nil>
}

// A message with several lanes waits for the earlier messages of all of them.
func ExampleKeysOf() {
	transfer := func(*keystrand.Message) (keystrand.Key, error) {
		return keystrand.KeysOf("account-1", "account-2"), nil
	}
	key, _ := transfer(&keystrand.Message{})
	first, more, _ := key.Lanes()
	fmt.Println(first, more)
	// Output: account-1 [account-2]
}
