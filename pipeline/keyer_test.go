// Virtual time: the bubbles are in each test.

package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	spill "github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// keyerSource is a source with a key function.
type keyerSource struct {
	source.Source
	key keystrand.KeyFunc
}

func (s keyerSource) Key(m *keystrand.Message) (keystrand.Key, error) { return s.key(m) }

// byValue returns the lanes in a value, which has "+" between them.
func byValue(m *keystrand.Message) (keystrand.Key, error) {
	if len(m.Value) == 0 {
		return keystrand.Key{}, errors.New("no lanes")
	}
	return keystrand.KeysOf(strings.Split(string(m.Value), "+")...), nil
}

// keyedRows returns a source of rows. The key of a row is its primary key alone; its value has all of its lanes.
func keyedRows(t *testing.T, key keystrand.KeyFunc, rows ...string) keyerSource {
	t.Helper()
	log := memory.NewLog("users", 1)
	for _, row := range rows {
		id, _, _ := strings.Cut(row, "+")
		log.Append(0, keystrand.Message{Key: []byte(id), Value: []byte(row)})
	}
	return keyerSource{watch(t, memory.NewSource(memory.Config{}, log), nil), key}
}

// eachStore runs f on pipelines with and without a store of diverted keys, which call key functions in places of their own.
func eachStore(t *testing.T, f func(t *testing.T, with func(*pipeline.Builder) *pipeline.Builder)) {
	t.Helper()
	t.Run("without a store", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, func(b *pipeline.Builder) *pipeline.Builder { return b }) })
	})
	t.Run("with a store", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f(t, func(b *pipeline.Builder) *pipeline.Builder { return b.Divert(spill.New()) })
		})
	})
}

// I1: a unique value that moves from one row to another orders the two.
func TestPipelineWithoutAKeyOrdersByTheKeyOfItsSource(t *testing.T) {
	for _, c := range []struct {
		name  string
		key   keystrand.KeyFunc // of the builder
		first []int64           // handlers that start before any has ended
	}{
		{"default", nil, []int64{0, 2}},
		{"the builder's key is used", keystrand.ByKey, []int64{0, 1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, with func(*pipeline.Builder) *pipeline.Builder) {
				t.Helper()
				var mu sync.Mutex
				var started []int64
				handled := make(chan struct{})
				b := with(pipeline.From(keyedRows(t, byValue, "id 1+mail ada", "id 2+mail ada", "id 3")).
					HandleFunc(func(context.Context, *keystrand.Message) error { <-handled; return nil }).
					Use(func(next keystrand.Next) keystrand.Next {
						return func(ctx context.Context, call *keystrand.Call) error {
							mu.Lock()
							started = append(started, call.Messages[0].Offset)
							mu.Unlock()
							return next(ctx, call)
						}
					}))
				if c.key != nil {
					b.Key(c.key)
				}
				run := start(t, b)
				time.Sleep(time.Second)
				mu.Lock()
				if got := slices.Sorted(slices.Values(started)); !slices.Equal(got, c.first) {
					t.Errorf("I1: the handlers of %v have started, want %v", got, c.first)
				}
				mu.Unlock()
				close(handled)
				time.Sleep(time.Second)
				if p := run.part(t, 0); p.Settled != 3 {
					t.Errorf("%d rows are settled, want 3", p.Settled)
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestErrorOfTheKeyOfASourceIsAFailure(t *testing.T) {
	eachStore(t, func(t *testing.T, with func(*pipeline.Builder) *pipeline.Builder) {
		t.Helper()
		run := start(t, with(pipeline.From(keyedRows(t, byValue, "id 1", "", "id 3")).HandleFunc(nothing)))
		err := run.wait()
		if failed, ok := errors.AsType[*pipeline.FailureError](err); !ok || !strings.Contains(failed.Error(), "no lanes") {
			t.Errorf("Run = %v, want the failure of offset 1", err)
		}
	})
}

// I1, I6: the lanes that a source returns are diverted like any other, and its key function runs with no lock held: it takes
// all that a snapshot takes.
func TestKeyOfASourceNamesTheLanesOfDivertedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var run *running
		built := make(chan struct{})
		key := func(m *keystrand.Message) (keystrand.Key, error) {
			<-built
			_ = run.Snapshot()
			return keystrand.KeyOfString("lane of " + string(m.Value)), nil
		}
		rows := slices.Repeat([]string{"hot"}, 100)
		var mu sync.Mutex
		var got []int64
		run = start(t, pipeline.From(keyedRows(t, key, append(rows, "id 7")...)).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				time.Sleep(10 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				if string(m.Value) == "hot" {
					got = append(got, m.Offset)
				}
				return nil
			}).
			Divert(spill.New()).Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 16}))
		close(built)
		time.Sleep(300 * time.Millisecond)
		if s := run.part(t, 0).Strands; len(s) != 1 || s[0].Key != "lane of hot" {
			t.Errorf("strands %+v, want that of the hot lane", s)
		}
		time.Sleep(5 * time.Second)
		mu.Lock()
		if len(got) != 100 || !slices.IsSorted(got) {
			t.Errorf("I1: handled %v, want 100 messages in order", got)
		}
		mu.Unlock()
		if err := run.stop(); err != nil {
			t.Fatal(err)
		}
	})
}
