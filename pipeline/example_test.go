package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink/memory"
	source "github.com/keystrand/keystrand/source/memory"
)

// The shortest pipeline has a source, a handler and a failure policy. Retry parks the key between attempts: no worker
// waits, and messages of other keys continue.
func Example() {
	log := source.NewLog("orders", 1)
	log.Append(0, keystrand.Message{Key: []byte("order-1"), Value: []byte("paid")})
	log.Append(0, keystrand.Message{Key: []byte("order-1"), Value: []byte("shipped")})
	log.Close()

	p, err := pipeline.From(source.NewSource(source.Config{}, log)).
		Use(middleware.Retry(middleware.RetryPolicy{Initial: time.Millisecond})).
		HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			fmt.Printf("%s %s, attempt %d\n", m.Key, m.Value, m.Attempt)
			if string(m.Value) == "paid" && m.Attempt == 1 {
				return errors.New("the database is busy")
			}
			return nil
		}).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := p.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println("settled:", p.Snapshot().Settled)
	// Output:
	// order-1 paid, attempt 1
	// order-1 paid, attempt 2
	// order-1 shipped, attempt 1
	// settled: 2
}

// A policy decides what happens to a message that failed for good. This one dead-letters permanent failures and blocks
// the key on all others, until an operator resumes it.
func ExamplePolicy() {
	log := source.NewLog("orders", 1)
	log.Append(0, keystrand.Message{Key: []byte("order-1"), Value: []byte("rubbish")})
	log.Append(0, keystrand.Message{Key: []byte("order-1"), Value: []byte("paid")})
	log.Close()

	dead := memory.New()
	toDead := pipeline.DeadLetter(dead)
	p, err := pipeline.From(source.NewSource(source.Config{}, log)).
		HandleFunc(func(_ context.Context, m *keystrand.Message) error {
			if string(m.Value) == "rubbish" {
				return keystrand.Permanent(errors.New("not an order"))
			}
			fmt.Printf("%s %s\n", m.Key, m.Value)
			return nil
		}).
		OnFailure(func(f pipeline.Failure) pipeline.Action {
			if f.Permanent {
				return toDead(f)
			}
			return pipeline.Block(f)
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
	for _, m := range dead.Messages() {
		why, _ := m.Header(pipeline.HeaderError)
		offset, _ := m.Header(pipeline.HeaderOffset)
		fmt.Printf("dead letter: %s %s, offset %s: %s\n", m.Key, m.Value, offset, why)
	}
	// Output:
	// order-1 paid
	// dead letter: order-1 rubbish, offset 0: not an order
}

// A transformer emits messages for a sink. For each key they become durable in the order of their inputs.
func ExampleBuilder_Transform() {
	log := source.NewLog("clicks", 1)
	for i := range 3 {
		log.Append(0, keystrand.Message{Key: []byte("ann"), Value: fmt.Append(nil, i)})
	}
	log.Close()

	out := memory.New()
	p, err := pipeline.From(source.NewSource(source.Config{}, log)).
		TransformFunc(func(_ context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
			emit(keystrand.Message{Stream: "pages", Key: m.Key, Value: append([]byte("page "), m.Value...)})
			return nil
		}).
		To(out).
		Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := p.Run(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range out.Messages() {
		fmt.Printf("%s: %s %s\n", m.Stream, m.Key, m.Value)
	}
	// Output:
	// pages: ann page 0
	// pages: ann page 1
	// pages: ann page 2
}

// Build reports all mistakes at once, before anything starts.
func ExampleBuilder_Build() {
	_, err := pipeline.From(nil).
		Limits(pipeline.Limits{Workers: -1}).
		Build()
	fmt.Println(err)
	// Output:
	// pipeline: no source: pass one to From
	// pipeline: no handler: pass one to Handle, HandleBatch or Transform
	// pipeline: Limits.Workers is -1: it must not be negative (0 means the default)
}
