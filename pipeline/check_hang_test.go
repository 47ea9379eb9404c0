package pipeline_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source/memory"
)

// A Check that ignores the end of its ctx is trouble like one that fails, and the log names the call.
func TestCheckThatHangsIsTrouble(t *testing.T) {
	eachWay(t, func(t *testing.T, letters bool) {
		t.Helper()
		out, let := newChecked(), make(chan struct{})
		out.check = func(context.Context) error { <-let; return nil }
		var lines buffer
		run := start(t, into(t, memory.NewLog("posts", 1), letters, out).Logger(lines.logger()))
		time.Sleep(2 * time.Second)
		if s := run.Snapshot(); run.Ready() || len(s.Sinks) != 1 || !lines.has("no answer within 1.5s") {
			t.Errorf("ready %v, troubles %+v, log:\n%s", run.Ready(), s.Sinks, lines.String())
		}
		time.Sleep(3 * time.Second)
		if !lines.has("a call has not returned; waiting") || !lines.has("Check of the ") {
			t.Errorf("the log does not name the call:\n%s", lines.String())
		}
		close(let)
		time.Sleep(time.Second)
		if s := run.Snapshot(); !run.Ready() || len(s.Sinks) != 0 || !lines.has("sink recovered") {
			t.Errorf("ready %v, troubles %+v", run.Ready(), s.Sinks)
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A pipeline is not ready before its sinks are checked, although nothing is wrong so far.
func TestPipelineIsNotReadyBeforeItsSinkIsChecked(t *testing.T) {
	eachWay(t, func(t *testing.T, letters bool) {
		t.Helper()
		out := newChecked()
		out.check = func(context.Context) error { time.Sleep(time.Second); return nil }
		run := start(t, into(t, memory.NewLog("posts", 1), letters, out))
		time.Sleep(900 * time.Millisecond)
		if s := run.Snapshot(); run.Ready() || len(s.Sinks) != 0 {
			t.Errorf("during the Check: ready %v, troubles %+v", run.Ready(), s.Sinks)
		}
		time.Sleep(200 * time.Millisecond)
		if !run.Ready() {
			t.Error("after the Check: not ready")
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCheckThatExitsIsTrouble(t *testing.T) {
	eachWay(t, func(t *testing.T, letters bool) {
		t.Helper()
		out := newChecked()
		out.check = func(context.Context) error { runtime.Goexit(); return nil }
		var lines buffer
		run := start(t, into(t, memory.NewLog("posts", 1), letters, out).Logger(lines.logger()))
		time.Sleep(2 * time.Second)
		if s := run.Snapshot(); run.Ready() || len(s.Sinks) != 1 || !lines.has("called runtime.Goexit") {
			t.Errorf("ready %v, troubles %+v, log:\n%s", run.Ready(), s.Sinks, lines.String())
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A stop during a Check is no trouble of the sink: what is being written is waited for.
func TestStopDuringACheckIsNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newChecked()
		out.check = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		out.SetFault(func(ctx context.Context, _ *keystrand.Message) error {
			select {
			case <-time.After(6 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		run := start(t, into(t, log, false, out))
		time.Sleep(time.Second)
		if err := run.stop(); err != nil || len(out.Messages()) != 1 {
			t.Errorf("Run returned %v, %d outputs are stored", err, len(out.Messages()))
		}
	})
}

// The end of a finite source is an end like that of ctx: CloseTimeout limits what is left, and the log names what hangs.
func TestRunOfAFiniteSourceReturnsInTimeWhicheverCallHangs(t *testing.T) {
	for _, method := range []string{"Close", "Close of a writer", "Check", "Open of the sink"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				log.Append(0, keysOf(10, 3)...)
				log.Close()
				h := &hanging{Source: memory.NewSource(memory.Config{}, log), method: method, let: make(chan struct{})}
				defer close(h.let)
				var lines buffer
				out := checkedWriter{hangingSink{h, "Open"}, func(ctx context.Context) error { return h.hang(ctx, "Check") }}
				if method == "Open of the sink" { // which fails; then Close hangs
					h.method = "Close"
				}
				run := start(t, pipeline.From(h).TransformFunc(echo).To(failingOpen{out, method == "Open of the sink"}).Logger(lines.logger()))
				time.Sleep(15 * time.Second)
				if !lines.has("a call has not returned; waiting") {
					t.Errorf("the log does not name the call:\n%s", lines.String())
				}
				select {
				case <-run.over:
				default:
					t.Fatal("I10: Run has not returned although only one call is left")
				}
				if stuck, ok := errors.AsType[*pipeline.StuckError](run.err); !ok || len(stuck.Calls) != 1 {
					t.Errorf("Run = %v, want one abandoned call", run.err)
				}
			})
		})
	}
}

// checkedWriter is a sink with a Check.
type checkedWriter struct {
	hangingSink

	check func(context.Context) error
}

func (c checkedWriter) Check(ctx context.Context) error { return c.check(ctx) }

// failingOpen is a sink that may fail to open.
type failingOpen struct {
	checkedWriter

	fails bool
}

func (f failingOpen) Open() (sink.Writer, error) {
	if f.fails {
		return nil, errBoom
	}
	return f.checkedWriter.Open()
}

// The line about a Check that times out has the cause that Check returns, not only that time is up.
func TestLineAboutACheckNamesItsCause(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			out := newChecked()
			out.check = func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(10 * time.Millisecond)
				return errors.New("request metadata from host:9092: no response")
			}
			var lines buffer
			run := start(t, into(t, memory.NewLog("posts", 1), false, out).Logger(lines.logger()))
			time.Sleep(2 * time.Second)
			if !lines.has("host:9092") {
				t.Errorf("log:\n%s", lines.String())
			}
			if err := run.stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
