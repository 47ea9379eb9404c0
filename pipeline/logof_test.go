// Virtual time: the bubble is in the test.

package pipeline_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

func TestHandlersGetTheIdentityOfTheLogTheyRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		var got, want []string
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Use(middleware.Timeout(time.Second)).
			HandleFunc(func(ctx context.Context, _ *keystrand.Message) error {
				id, ok := keystrand.LogOf(ctx)
				if !ok {
					t.Error("the ctx of the handler has no identity of a log")
				}
				got = append(got, id)
				return nil
			}))
		for range 2 {
			log.Append(0, keyed("a"))
			want = append(want, log.Identity())
			time.Sleep(time.Minute)
			log.Recreate()
		}
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) || want[0] == want[1] {
			t.Errorf("logs %q, want %q", got, want)
		}
	})
}
