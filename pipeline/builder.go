package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source"
)

// Builder collects the parts of a pipeline. The order of calls does not matter, and nothing is checked, started or
// connected before [Builder.Build]. [From] makes one: the zero Builder lacks its source. A Builder is not safe for concurrent use.
type Builder struct {
	cfg   config
	calls map[string]int // how often each stage was set; nil before the first
}

// config is what a pipeline is built from.
type config struct {
	source     source.Source
	middleware []keystrand.Middleware
	handler    any            // of whatever shape; nil for none
	end        keystrand.Next // the handler, as the end of the chain
	batches    bool           // the handler takes several messages a turn
	transforms bool           // the handler emits to sink
	sink       sink.Sink
	key        keystrand.KeyFunc
	policy     Policy
	limits     Limits
	timing     Timing
	log        *slog.Logger
	crash      bool // panics of a handler end the process
	abandon    bool // stuck handlers are given up
}

// From begins a pipeline that reads src.
func From(src source.Source) *Builder {
	return &Builder{cfg: config{source: src}}
}

// Use adds middleware. The first is the outermost; several calls add up.
func (b *Builder) Use(ms ...keystrand.Middleware) *Builder {
	b.cfg.middleware = append(b.cfg.middleware, ms...)
	return b
}

// Handle sets the handler, which gets one message a turn. It is called from many goroutines, never twice at once for one
// key: [keystrand.Handler] has the rules.
func (b *Builder) Handle(h keystrand.Handler) *Builder {
	b.called("handler")
	if h != nil {
		b.cfg.handler, b.cfg.end = h, handlerNext(h)
	}
	return b
}

// HandleFunc is [Builder.Handle] for a function.
func (b *Builder) HandleFunc(f func(ctx context.Context, m *keystrand.Message) error) *Builder {
	return b.Handle(keystrand.HandlerFunc(f))
}

// HandleBatch sets the handler, which gets the waiting messages of one key a turn, at most Limits.MaxBatch.
func (b *Builder) HandleBatch(h keystrand.BatchHandler) *Builder {
	b.called("handler")
	if h != nil {
		b.cfg.handler, b.cfg.end, b.cfg.batches = h, batchNext(h), true
	}
	return b
}

// HandleBatchFunc is [Builder.HandleBatch] for a function.
func (b *Builder) HandleBatchFunc(f func(ctx context.Context, ms []*keystrand.Message) error) *Builder {
	return b.HandleBatch(keystrand.BatchHandlerFunc(f))
}

// Transform sets the handler to a transformer, which emits messages for the sink that [Transform.To] sets.
func (b *Builder) Transform(t keystrand.Transformer) *Transform {
	b.called("handler")
	if t != nil {
		b.cfg.handler, b.cfg.end, b.cfg.transforms = t, transformNext(t), true
	}
	return &Transform{b}
}

// TransformFunc is [Builder.Transform] for a function.
func (b *Builder) TransformFunc(f func(ctx context.Context, m *keystrand.Message, emit func(keystrand.Message)) error) *Transform {
	return b.Transform(keystrand.TransformerFunc(f))
}

// Transform is a pipeline under construction that lacks its sink.
type Transform struct{ b *Builder }

// To sets the sink that takes what the transformer emits. A sink keeps the order of each key of the outputs; to keep that
// of the inputs' lanes too, two outputs of one lane that differ in their keys, or have none, never stand in one Write. So
// outputs that have the key of their lane travel in large batches, and a lane whose outputs have other keys costs a Write
// each. The pipeline opens and closes writers of it; the sink itself is closed by whoever made it.
func (t *Transform) To(s sink.Sink) *Builder {
	t.b.called("sink")
	t.b.cfg.sink = s
	return t.b
}

// Key sets what messages are ordered by. Default: [keystrand.ByKey].
func (b *Builder) Key(f keystrand.KeyFunc) *Builder {
	b.called("key")
	b.cfg.key = f
	return b
}

// OnFailure sets what becomes of a message whose handler failed for good. Default: [Stop].
func (b *Builder) OnFailure(p Policy) *Builder {
	b.called("failure policy")
	b.cfg.policy = p
	return b
}

// Limits bounds memory, workers and replays.
func (b *Builder) Limits(l Limits) *Builder {
	b.called("limits")
	b.cfg.limits = l
	return b
}

// Timing sets intervals and timeouts.
func (b *Builder) Timing(t Timing) *Builder {
	b.called("timing")
	b.cfg.timing = t
	return b
}

// Logger sets where the pipeline tells what it does: partitions that come and go at level Info, what was not handled, and
// commits and writes that fail, at Warn, handlers that do not return at Error. It never tells values or headers. A key
// is named as Resume takes it. Default: nowhere.
func (b *Builder) Logger(l *slog.Logger) *Builder {
	b.called("logger")
	b.cfg.log = l
	return b
}

// CrashOnPanic lets a panic of a handler end the process, instead of making it a failure of its message.
func (b *Builder) CrashOnPanic() *Builder {
	b.cfg.crash = true
	return b
}

// AbandonStuck lets a partition leave, and Run return, although a handler ignores the end of its ctx: Timing.StuckAfter
// after that end it is given up, and Run returns a [*StuckError]. Its goroutine lives on until the handler returns, and
// in this process no other message of its key starts before. Without it the pipeline waits, and says so in its log.
// A sink's Write that ignores the end of its ctx is waited for in any case: what it stores later would overtake what the
// next owner stores.
func (b *Builder) AbandonStuck() *Builder {
	b.cfg.abandon = true
	return b
}

func (b *Builder) called(stage string) {
	if b.calls == nil {
		b.calls = make(map[string]int)
	}
	b.calls[stage]++
}

// Build checks everything and returns the pipeline, or one error that lists all that is wrong, a line each. It connects to
// nothing and starts nothing, so it does not block; each pipeline needs a source of its own, since Run closes it.
func (b *Builder) Build() (*Pipeline, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("pipeline: "+format, args...)) }
	cfg := b.cfg
	if cfg.source == nil {
		wrong("no source: From needs one")
	}
	if cfg.end == nil {
		wrong("no handler: call Handle, HandleBatch or Transform with one")
	} else if err := check(cfg.handler); err != nil {
		for line := range strings.Lines(err.Error()) {
			wrong("%s", strings.TrimSuffix(line, "\n"))
		}
	}
	if cfg.transforms && cfg.sink == nil {
		wrong("no sink: Transform needs To with one")
	}
	for _, stage := range []string{"handler", "sink", "key", "failure policy", "limits", "timing", "logger"} {
		if n := b.calls[stage]; n > 1 {
			wrong("the %s is set %d times: set it once", stage, n)
		}
	}
	for _, stage := range []struct {
		name string
		null bool
	}{
		{"key", cfg.key == nil},
		{"failure policy", cfg.policy == nil},
		{"logger", cfg.log == nil},
	} {
		if b.calls[stage.name] > 0 && stage.null {
			wrong("the %s is set to nil: leave it out for the default", stage.name)
		}
	}
	for i, m := range cfg.middleware {
		if m == nil {
			wrong("middleware %d is nil", i)
		}
	}
	next, err := cfg.chain()
	if err := errors.Join(append(errs, err, cfg.limits.validate(), cfg.timing.validate())...); err != nil {
		return nil, err
	}
	return newPipeline(cfg.withDefaults(), next)
}

// chain applies each middleware once. One that is misconfigured says so by a panic when it is applied, since it has no
// other way to: all of them are told, not only the first.
func (c config) chain() (next keystrand.Next, err error) {
	var errs []error
	next = c.end
	for i, m := range slices.Backward(c.middleware) {
		if m != nil {
			next = apply(m, next, i, &errs)
		}
	}
	if len(c.middleware) > 0 {
		next = guard(next)
	}
	return next, errors.Join(errs...)
}

// guard makes a panic of middleware a failure of the message, as one of the handler is: those are caught beneath it.
func guard(next keystrand.Next) keystrand.Next {
	return func(ctx context.Context, c *keystrand.Call) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = &keystrand.PanicError{Value: v, Stack: debug.Stack()}
			}
		}()
		return next(ctx, c)
	}
}

func apply(m keystrand.Middleware, next keystrand.Next, i int, errs *[]error) (wrapped keystrand.Next) {
	defer func() {
		if v := recover(); v != nil {
			err, ok := v.(error)
			if !ok {
				err = fmt.Errorf("%v", v)
			}
			*errs = append(*errs, fmt.Errorf("pipeline: middleware %d: %w", i, err))
			wrapped = next
		}
	}()
	if wrapped = m(next); wrapped == nil {
		*errs = append(*errs, fmt.Errorf("pipeline: middleware %d returned no Next", i))
		return next
	}
	return wrapped
}

func (c config) withDefaults() config {
	c.limits, c.timing = c.limits.withDefaults(), c.timing.withDefaults()
	if c.policy == nil {
		c.policy = Stop
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c
}
