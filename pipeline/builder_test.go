package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

func TestBuildReportsEveryMistakeAtOnce(t *testing.T) {
	h := keystrand.HandlerFunc(nothing)
	src := func() *memory.Source { return memory.NewSource(memory.Config{}, memory.NewLog("posts", 1)) }
	out := sinkmemory.New()
	handled := keystrand.BatchHandlerFunc(func(context.Context, []*keystrand.Message) error { return nil })
	var zero pipeline.Builder
	for name, c := range map[string]struct {
		b    *pipeline.Builder
		want []string
	}{
		"nothing set":            {pipeline.From(nil), []string{"no source", "no handler"}},
		"nil handlers":           {pipeline.From(nil).Handle(nil).HandleBatch(nil), []string{"no source", "no handler", "the handler is set 2 times"}},
		"zero builder":           {zero.Handle(h), []string{"no source: pass one to From"}},
		"nil function":           {pipeline.From(src()).HandleFunc(nil), []string{"the handler is a nil keystrand.HandlerFunc"}},
		"nil batch function":     {pipeline.From(src()).HandleBatchFunc(nil), []string{"the handler is a nil keystrand.BatchHandlerFunc"}},
		"nil transform function": {pipeline.From(src()).TransformFunc(nil).To(out), []string{"the handler is a nil keystrand.TransformerFunc"}},
		"nil in a mux": {
			pipeline.From(src()).Handle(keystrand.Mux{"s": nil, "t": h, "u": keystrand.HandlerFunc(nil), "v": keystrand.Mux{"w": nil, "x": keystrand.NewDecoder[int](nil).Handle(nil)}}),
			[]string{`stream "s": the handler is nil`, `stream "u": the handler is a nil keystrand.HandlerFunc`, `stream "v": stream "w": the handler is nil`, `stream "v": stream "x": the handler has a Decoder without an unmarshal function`, `stream "v": stream "x": the handler has a Decoder and a nil function`},
		},
		"nil in a mux of batch handlers": {
			pipeline.From(src()).HandleBatch(keystrand.BatchMux{"s": nil, "t": handled, "u": keystrand.BatchHandlerFunc(nil)}),
			[]string{`stream "s": the handler is nil`, `stream "u": the handler is a nil keystrand.BatchHandlerFunc`},
		},
		"nil in a mux of transformers": {
			pipeline.From(src()).Transform(keystrand.TransformMux{"s": nil, "t": keystrand.TransformMux{"u": keystrand.TransformerFunc(nil)}}).To(out),
			[]string{`stream "s": the handler is nil`, `stream "t": stream "u": the handler is a nil keystrand.TransformerFunc`},
		},
		"decoder with nothing": {
			pipeline.From(src()).Handle(keystrand.NewDecoder[int](nil).Handle(nil)),
			[]string{"the handler has a Decoder without an unmarshal function", "the handler has a Decoder and a nil function"},
		},
		"batch decoder with nothing": {
			pipeline.From(src()).HandleBatch(keystrand.NewDecoder[int](nil).HandleBatch(nil)),
			[]string{"the handler has a Decoder without an unmarshal function", "the handler has a Decoder and a nil function"},
		},
		"nil decoder": {
			pipeline.From(src()).Transform((*keystrand.Decoder[int])(nil).Transform(nil)).To(out),
			[]string{"the handler has a Decoder without an unmarshal function", "the handler has a Decoder and a nil function"},
		},
		"key of a decoder with nothing": {pipeline.From(src()).Handle(h).Key(keystrand.NewDecoder[int](nil).Key(nil)), []string{"the key is set to nil"}},
		"transform without sink":        {pipeline.From(src()).Transform(keystrand.TransformerFunc(echo)).To(nil), []string{"no sink"}},
		"everything twice": {
			pipeline.From(src()).Handle(h).HandleBatch(handled).Key(keystrand.ByKey).Key(keystrand.ByKey).
				OnFailure(pipeline.Skip).OnFailure(pipeline.Stop).Limits(pipeline.Limits{}).Limits(pipeline.Limits{}).
				Timing(pipeline.Timing{}).Timing(pipeline.Timing{}).Logger(slog.New(slog.DiscardHandler)).Logger(slog.New(slog.DiscardHandler)),
			[]string{"the handler is set 2", "the key is set 2", "the failure policy is set 2", "the limits is set 2", "the timing is set 2", "the logger is set 2"},
		},
		"sink twice": {sinkTwice(src(), out), []string{"the sink is set 2"}},
		"nil stages": {
			pipeline.From(src()).Handle(h).Key(nil).OnFailure(nil).Logger(nil).Use(nil, nil),
			[]string{"the key is set to nil", "the failure policy is set to nil", "the logger is set to nil", "middleware 0 is nil", "middleware 1 is nil"},
		},
		"dead letters without a sink": {pipeline.From(src()).Handle(h).OnFailure(pipeline.DeadLetter(nil)), []string{"the failure policy is set to nil"}},
		"negative limits": {
			pipeline.From(src()).Handle(h).Limits(pipeline.Limits{
				Workers: -1, InFlight: -1, InFlightBytes: -1, PrefetchBytes: -1, KeyShare: -1, MaxReplay: -1, MaxBatch: -1, FetchMessages: -1, FetchBytes: -1, Writers: -1,
			}).Timing(pipeline.Timing{CommitInterval: -1, CommitTimeout: -1, DrainTimeout: -1, StuckAfter: -1, CloseTimeout: -1}),
			[]string{
				"Limits.Workers is -1", "Limits.InFlight is -1", "Limits.InFlightBytes", "Limits.PrefetchBytes", "Limits.KeyShare", "Limits.MaxReplay", "Limits.MaxBatch",
				"Limits.FetchMessages", "Limits.FetchBytes", "Limits.Writers", "Timing.CommitInterval", "Timing.CommitTimeout", "Timing.DrainTimeout", "Timing.StuckAfter", "Timing.CloseTimeout",
			},
		},
		"too large": {
			pipeline.From(nil).Limits(pipeline.Limits{MaxBatch: 70_000, Writers: 70_000}),
			[]string{"no source", "no handler", "Limits.MaxBatch is 70000", "Limits.Writers is 70000"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.b.Build()
			if err == nil || p != nil {
				t.Fatalf("Build = %v, %v", p, err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error does not contain %q:\n%v", w, err)
				}
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "pipeline: ") {
					t.Errorf("line without the package name: %s", line)
				}
			}
			if n := strings.Count(err.Error(), "\n") + 1; n != len(c.want) {
				t.Errorf("%d mistakes reported, want %d:\n%v", n, len(c.want), err)
			}
		})
	}
}

func sinkTwice(src *memory.Source, out *sinkmemory.Sink) *pipeline.Builder {
	tr := pipeline.From(src).Transform(keystrand.TransformerFunc(echo))
	tr.To(out)
	return tr.To(out)
}

func TestOrderOfBuilderCallsDoesNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := keystrand.HandlerFunc(nothing)
		calls := []func(b *pipeline.Builder){
			func(b *pipeline.Builder) { b.Handle(h) },
			func(b *pipeline.Builder) { b.OnFailure(pipeline.Skip) },
			func(b *pipeline.Builder) { b.Limits(pipeline.Limits{Workers: 3}) },
			func(b *pipeline.Builder) { b.Timing(pipeline.Timing{CommitInterval: time.Second}) },
			func(b *pipeline.Builder) { b.Key(keystrand.ByPartition) },
		}
		for turn := range calls {
			log := memory.NewLog("posts", 1)
			log.Append(0, keysOf(20, 4)...)
			log.Close()
			b := pipeline.From(memory.NewSource(memory.Config{}, log))
			for i := range calls {
				calls[(turn+i)%len(calls)](b)
			}
			run := start(t, b)
			if err := run.wait(); err != nil {
				t.Fatal(err)
			}
			if s := run.Snapshot(); s.Settled != 20 || s.Workers != 3 || s.State != pipeline.Stopped {
				t.Errorf("turn %d: %+v", turn, s)
			}
		}
	})
}

func TestRunTwiceIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		run := start(t, pipeline.From(memory.NewSource(memory.Config{}, log)).Handle(keystrand.HandlerFunc(nothing)))
		synctest.Wait()
		if err := run.Run(t.Context()); !errors.Is(err, pipeline.ErrRunTwice) {
			t.Errorf("second Run = %v", err)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if err := run.Run(t.Context()); !errors.Is(err, pipeline.ErrRunTwice) {
			t.Errorf("Run after the end = %v", err)
		}
	})
}

// badSink is a sink that is not a pointer.
type badSink struct{ *sinkmemory.Sink }

func TestRunCleansUpWhenTheSinkCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		out := sinkmemory.New()
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		src := watch(t, memory.NewSource(memory.Config{}, log), nil)
		run := start(t, pipeline.From(src).Transform(keystrand.TransformerFunc(echo)).To(badSink{Sink: out}))
		if err := run.wait(); err == nil || !strings.Contains(err.Error(), "open the sink") {
			t.Errorf("Run = %v", err)
		}
		if !src.closed || log.Group("").Members() != 0 {
			t.Error("the source is not closed: this process stays a member of the group")
		}
		if s := run.Snapshot(); s.State != pipeline.Stopped {
			t.Errorf("state %v", s.State)
		}
	})
}
