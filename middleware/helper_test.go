package middleware

import (
	"context"
	"testing"

	"github.com/keystrand/keystrand"
)

// turn runs one turn of the chain on the messages.
func turn(ctx context.Context, end keystrand.Next, m keystrand.Middleware, ms ...*keystrand.Message) error {
	var c keystrand.Call
	c.Reset(ms...)
	return m(end)(ctx, &c)
}

// returning is the end of a chain that returns err.
func returning(err error) keystrand.Next {
	return func(context.Context, *keystrand.Call) error { return err }
}

// shapes are the ends of a chain that call f once a turn, for each shape of handler.
func shapes(f func(context.Context) error) map[string]keystrand.Next {
	return map[string]keystrand.Next{
		"handler":   keystrand.HandlerNext(keystrand.HandlerFunc(func(ctx context.Context, _ *keystrand.Message) error { return f(ctx) })),
		"batch":     keystrand.BatchNext(keystrand.BatchHandlerFunc(func(ctx context.Context, _ []*keystrand.Message) error { return f(ctx) })),
		"transform": keystrand.TransformNext(keystrand.TransformerFunc(func(ctx context.Context, _ *keystrand.Message, _ func(keystrand.Message)) error { return f(ctx) })),
	}
}

// mustPanic returns the error with which a misconfigured middleware panics.
func mustPanic(t *testing.T, m keystrand.Middleware) (err error) {
	t.Helper()
	defer func() {
		v, ok := recover().(error)
		if !ok {
			t.Fatalf("it did not panic with an error: %v", v)
		}
		err = v
	}()
	m(returning(nil))
	return nil
}
