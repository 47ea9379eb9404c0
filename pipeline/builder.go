package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source"
)

// Builder collects the parts of a pipeline. [From] makes one; the zero Builder lacks its source. The order of calls
// does not matter. Nothing is checked, started or connected before [Builder.Build]. A Builder is not safe for
// concurrent use.
type Builder struct {
	cfg   config
	calls map[string]int // how often each stage was set; nil before the first call
}

// config is the configuration of a pipeline.
type config struct {
	source     source.Source
	middleware []keystrand.Middleware
	handler    any            // of any shape; nil if none is set
	end        keystrand.Next // calls the handler, at the end of the chain
	batches    bool           // the handler gets several messages a turn
	transforms bool           // the handler emits to sink
	sink       sink.Sink
	key        keystrand.KeyFunc // nil: ByKey
	policy     Policy
	store      spill.Store // keeps the messages of diverted keys; nil if no key is diverted
	limits     Limits
	timing     Timing
	log        *slog.Logger
	name       string
	described  source.Description // zero if the source is no source.Describer
	onEvent    func(Event)        // nil: nobody listens
	crash      bool               // a panic of a handler ends the process
	abandon    bool               // stuck handlers are abandoned
}

// From returns a Builder for a pipeline that reads src.
func From(src source.Source) *Builder {
	return &Builder{cfg: config{source: src}}
}

// Use adds middleware. The first one is the outermost. Several calls add up.
func (b *Builder) Use(ms ...keystrand.Middleware) *Builder {
	b.cfg.middleware = append(b.cfg.middleware, ms...)
	return b
}

// Handle sets the handler, which gets one message a turn. The pipeline calls it from many goroutines, but never
// concurrently for one key. See [keystrand.Handler].
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

// HandleBatch sets a handler that gets the waiting messages of one key, at most Limits.MaxBatch a turn.
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

// Transform sets a transformer as the handler. It emits messages for the sink that [Transform.To] sets.
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

// To sets the sink for the messages that the transformer emits. The pipeline opens and closes the sink's writers; the
// caller closes the sink.
//
// A sink keeps the order of each key of the outputs. To keep the order of the inputs' lanes as well, the pipeline never
// writes two outputs of one lane in one Write if their keys differ or are missing. So outputs with the key of their
// lane are written in large batches, and others take one Write each in their lane.
func (t *Transform) To(s sink.Sink) *Builder {
	t.b.called("sink")
	t.b.cfg.sink = s
	return t.b
}

// Key sets the function that returns the key of a message. Default: Key of the source if that is a [source.Keyer], else
// [keystrand.ByKey].
func (b *Builder) Key(f keystrand.KeyFunc) *Builder {
	b.called("key")
	b.cfg.key = f
	return b
}

// OnFailure sets the policy for messages whose handler has failed for good. Default: [Stop].
func (b *Builder) OnFailure(p Policy) *Builder {
	b.called("failure policy")
	b.cfg.policy = p
	return b
}

// Divert sets the store that keeps the messages of hot and failing keys until their handler can take them.
//
//   - A hot key gets more messages than its handler can take. Its messages go to the store and come back by themselves, in
//     order. Without Divert the key's partition waits once Limits.KeyShare messages of the key wait.
//   - A failing key is one that the policy [Hold] holds. It waits for an operator: see [Pipeline.Held].
//
// A message in the store counts as settled, since the store is durable. Other keys, and the order of this one, are not
// affected. A crash may repeat messages handled from the store since the last commit.
//
// Build refuses a store that is not spill.Store.Shared for a source whose partitions move between machines. Several
// pipelines may use one store if no two of them read the same stream. The caller closes the store after Run has returned.
func (b *Builder) Divert(store spill.Store) *Builder {
	b.called("store")
	b.cfg.store = store
	return b
}

// Limits sets bounds on memory, workers and replays.
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

// Logger sets the logger. It gets, by level:
//
//   - Debug: each step of a partition from its accept to its release, and keys that are diverted;
//   - Info: accepted and released partitions as one line for many, the end of Run, skipped messages, and what operators do;
//   - Warn: failed messages, commits and writes; releases that are held up, after 1 s and then every 10 s; and every
//     minute blocked keys, a lag that grows, and commits that fail;
//   - Error: calls that do not return. After 1.5 s they are Warn.
//
// The pipeline never logs values or headers. It logs a key in the form that Resume accepts. Default: no log.
func (b *Builder) Logger(l *slog.Logger) *Builder {
	b.called("logger")
	b.cfg.log = l
	return b
}

// Name sets the name of the pipeline, for [Snapshot], metrics and consoles. Pipelines may have equal names, but a console refuses
// two of them. Default: the group of the source, else its system, else "pipeline".
func (b *Builder) Name(name string) *Builder {
	b.called("name")
	b.cfg.name = name
	return b
}

// OnEvent sets a function that gets each [Event] of the pipeline, in the order of Event.Seq, from one goroutine, with no lock held.
// It may call any method of the pipeline but Run.
//
// A call that blocks delays later events, but no handler, commit or release. 8,192 events may wait; the log tells of those that
// are left out, and Event.Seq has a gap. Run passes on what happened before Run, and returns after the last event. A call that has
// not returned Timing.CloseTimeout after the last handler is abandoned, and the error of Run names it. A panic is logged, and the
// events go on.
func (b *Builder) OnEvent(f func(Event)) *Builder {
	b.called("event function")
	b.cfg.onEvent = f
	return b
}

// CrashOnPanic makes a panic of a handler end the process. By default it is a failure of its message.
func (b *Builder) CrashOnPanic() *Builder {
	b.cfg.crash = true
	return b
}

// AbandonStuck abandons handlers that ignore the end of their ctx. Timing.StuckAfter after that end the partition is
// released without them, and Run returns a [*StuckError]. The goroutine lives until the handler returns, and until then
// no other message of its key starts in this process. Without AbandonStuck the pipeline waits and logs it.
//
// The pipeline always waits for a sink's Write, even if it ignores the end of its ctx: an output stored later could
// overtake those of the next owner.
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

// Build validates the configuration and returns the pipeline, or one error that lists all mistakes, one a line. It
// connects to nothing, starts nothing and does not block. Each pipeline needs its own source, since Run closes it.
func (b *Builder) Build() (*Pipeline, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("pipeline: "+format, args...)) }
	cfg := b.cfg
	if cfg.source == nil {
		wrong("no source: pass one to From")
	}
	if cfg.end == nil {
		wrong("no handler: pass one to Handle, HandleBatch or Transform")
	} else if err := check(cfg.handler); err != nil {
		for line := range strings.Lines(err.Error()) {
			wrong("%s", strings.TrimSuffix(line, "\n"))
		}
	}
	if cfg.transforms && cfg.sink == nil {
		wrong("no sink: pass one to Transform.To")
	}
	for _, stage := range []string{"handler", "sink", "key", "failure policy", "store", "limits", "timing", "logger", "name", "event function"} {
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
		{"store", cfg.store == nil},
		{"logger", cfg.log == nil},
		{"name", cfg.name == ""},
		{"event function", cfg.onEvent == nil},
	} {
		if b.calls[stage.name] > 0 && stage.null {
			wrong("the %s is set to nil, or is empty: leave it out for the default", stage.name)
		}
	}
	for i, m := range cfg.middleware {
		if m == nil {
			wrong("middleware %d is nil: remove it", i)
		}
	}
	cfg.checkDivert(wrong)
	next, err := cfg.chain()
	if err := errors.Join(append(errs, err, cfg.limits.validate(), cfg.timing.validate())...); err != nil {
		return nil, err
	}
	return newPipeline(cfg.withDefaults(), next)
}

// checkDivert checks that the store suits the source and the policy.
func (c config) checkDivert(wrong func(format string, args ...any)) {
	if m, ok := c.source.(source.Mover); ok && c.store != nil && m.Moves() && !c.store.Shared() {
		wrong("the partitions of the source move between machines, but the store of Divert is on this machine only: use a shared store, or set Alone in the Config of the source if no other process reads it")
	}
	if c.store == nil && c.policy != nil && reflect.ValueOf(c.policy).Pointer() == reflect.ValueOf(Hold).Pointer() {
		wrong("the failure policy is Hold, but there is no store: set one with Divert, or use Block")
	}
}

// chain wraps the handler in all middleware. A misconfigured middleware panics when it is applied, since it cannot
// return an error. chain collects all of these panics as errors.
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

// guard turns a panic of middleware into a failure of the message. Panics of the handler are caught inside.
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
		*errs = append(*errs, fmt.Errorf("pipeline: middleware %d returned a nil Next: return a function", i))
		return next
	}
	return wrapped
}

func (c config) withDefaults() config {
	c.limits, c.timing = c.limits.withDefaults(), c.timing.withDefaults()
	if c.policy == nil {
		c.policy = Stop
	}
	if k, ok := c.source.(source.Keyer); ok && c.key == nil {
		c.key = k.Key
	}
	c.log = cmp.Or(c.log, slog.New(slog.DiscardHandler))
	if d, ok := c.source.(source.Describer); ok {
		c.described = d.Describe()
	}
	c.name = cmp.Or(c.name, c.described.Group, c.described.System, "pipeline")
	return c
}
