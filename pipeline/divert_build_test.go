package pipeline_test

import (
	"strings"
	"testing"

	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

func TestBuildRefusesAStoreThatDoesNotSuit(t *testing.T) {
	for _, c := range []struct {
		name  string
		moves bool
		build func(b *pipeline.Builder)
		want  []string // parts of the error; none: no error
	}{
		{"partitions move, shared store", true, func(b *pipeline.Builder) { b.Divert(memory.New()) }, nil},
		{"partitions stay, store of one machine", false, func(b *pipeline.Builder) { b.Divert(memory.NewLocal()) }, nil},
		{"partitions move, store of one machine", true, func(b *pipeline.Builder) { b.Divert(memory.NewLocal()) }, []string{"move between machines", "use a shared store"}},
		{"Hold without a store", false, func(b *pipeline.Builder) { b.OnFailure(pipeline.Hold) }, []string{"Hold", "no store", "Divert"}},
		{"no store", false, func(b *pipeline.Builder) { b.Divert(nil) }, []string{"store is set to nil"}},
		{"two stores", false, func(b *pipeline.Builder) { b.Divert(memory.New()).Divert(memory.New()) }, []string{"store is set 2 times"}},
		{
			"negative limits", false, func(b *pipeline.Builder) { b.Limits(pipeline.Limits{DivertBytes: -1, MaxBatchBytes: -2}) },
			[]string{"Limits.DivertBytes is -1", "Limits.MaxBatchBytes is -2"},
		},
		{
			"all at once", true, func(b *pipeline.Builder) {
				b.Divert(memory.NewLocal()).Limits(pipeline.Limits{DivertBytes: -1}).Key(nil)
			},
			[]string{"move between machines", "Limits.DivertBytes", "key is set to nil"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := pipeline.From(source.NewSource(source.Config{Moves: c.moves}, source.NewLog("posts", 1))).HandleFunc(nothing)
			c.build(b)
			_, err := b.Build()
			if (err == nil) != (c.want == nil) {
				t.Errorf("Build = %v, want an error: %v", err, c.want != nil)
			}
			for _, part := range c.want {
				if err != nil && !strings.Contains(err.Error(), part) {
					t.Errorf("Build = %v, want an error with %q", err, part)
				}
			}
		})
	}
}
