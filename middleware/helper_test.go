package middleware

import (
	"context"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/runner"
)

// turn runs one turn with the messages through m and end.
func turn(ctx context.Context, end keystrand.Next, m keystrand.Middleware, ms ...*keystrand.Message) error {
	return m(end)(ctx, keystrand.NewCall(ms...))
}

// returning returns the end of a chain that returns err.
func returning(err error) keystrand.Next {
	return func(context.Context, *keystrand.Call) error { return err }
}

// shapes returns an end of a chain for each kind of handler. Each calls f once per turn.
func shapes(f func(context.Context) error) map[string]keystrand.Next {
	return map[string]keystrand.Next{
		"handler":   handlerNext(keystrand.HandlerFunc(func(ctx context.Context, _ *keystrand.Message) error { return f(ctx) })),
		"batch":     batchNext(keystrand.BatchHandlerFunc(func(ctx context.Context, _ []*keystrand.Message) error { return f(ctx) })),
		"transform": transformNext(keystrand.TransformerFunc(func(ctx context.Context, _ *keystrand.Message, _ func(keystrand.Message)) error { return f(ctx) })),
	}
}

// handlerNext, batchNext and transformNext make the end of a chain from a handler, as a pipeline does.
//
//nolint:errcheck // a wrong type should panic
var (
	handlerNext   = runner.HandlerNext.(func(keystrand.Handler) keystrand.Next)
	batchNext     = runner.BatchNext.(func(keystrand.BatchHandler) keystrand.Next)
	transformNext = runner.TransformNext.(func(keystrand.Transformer) keystrand.Next)
)

// mustPanic returns the error with which a misconfigured middleware panics.
func mustPanic(t *testing.T, m keystrand.Middleware) (err error) {
	t.Helper()
	defer func() {
		v, ok := recover().(error)
		if !ok {
			t.Fatalf("applying the middleware did not panic with an error: %v", v)
		}
		err = v
	}()
	m(returning(nil))
	return nil
}
