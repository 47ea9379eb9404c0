package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// reporting is a source with a Report.
type reporting struct {
	source.Source
	report source.Report
}

func (r *reporting) Report() source.Report { return r.report }

func TestSnapshotAndReadinessComeFromTheSourcesReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &reporting{Source: memory.NewSource(memory.Config{}, memory.NewLog("posts", 1))}
		src.report.Trouble = []source.Trouble{{What: "join", Err: errors.New("no broker answers"), Since: time.Now()}}
		run := start(t, pipeline.From(src).Handle(keystrand.HandlerFunc(func(context.Context, *keystrand.Message) error { return nil })))
		synctest.Wait()
		if run.Ready() || len(run.Snapshot().Source.Trouble) != 1 {
			t.Errorf("ready %v, source %+v, while the source cannot join", run.Ready(), run.Snapshot().Source)
		}
		src.report = source.Report{Ready: true}
		if !run.Ready() {
			t.Error("not ready while the source is a member of its group")
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if run.Ready() {
			t.Error("ready after Run has returned")
		}
	})
}
