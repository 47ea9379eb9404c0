package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/pipeline"
	source "github.com/keystrand/keystrand/source/memory"
)

// operation is a method for held keys.
type operation func(ctx context.Context, p *pipeline.Pipeline, partition int32, lane string) (int64, error)

var operations = map[string]operation{
	"resume": func(ctx context.Context, p *pipeline.Pipeline, partition int32, lane string) (int64, error) {
		return p.ResumeHeld(ctx, "posts", partition, lane, "ann")
	},
	"skip": func(ctx context.Context, p *pipeline.Pipeline, partition int32, lane string) (int64, error) {
		return p.SkipHeld(ctx, "posts", partition, lane, "ann")
	},
	"drop": func(ctx context.Context, p *pipeline.Pipeline, partition int32, lane string) (int64, error) {
		return p.DropHeld(ctx, "posts", partition, lane, "ann")
	},
	"list records": func(ctx context.Context, p *pipeline.Pipeline, partition int32, lane string) (int64, error) {
		ms, _, err := p.Records(ctx, "posts", partition, lane, 10)
		return int64(len(ms)), err
	},
}

func TestHeldKeysAreListedInPages(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		var want, got []string
		for i := range 25 {
			want = append(want, fmt.Sprintf("bad%02d", i))
			pl.put(want[i] + "!")
		}
		pl.put(slices.Repeat([]string{"cold"}, 5)...)
		p := pl.process()
		time.Sleep(2 * time.Second)
		for after, page := "", 0; page < 4; page++ {
			list, err := p.Held(t.Context(), "posts", 0, after, 10)
			if err != nil {
				t.Fatal(err)
			}
			if n := []int{10, 10, 5, 0}[page]; len(list) != n {
				t.Errorf("page %d has %d keys, want %d", page, len(list), n)
			}
			for _, s := range list {
				if after = s.Key; s.State != pipeline.StrandHeld || s.Records != 1 || s.Bytes == 0 || s.Err != "boom" || s.Age < time.Second {
					t.Errorf("%+v; want a held key with one record", s)
				}
				got = append(got, s.Key)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("listed %q, want %q", got, want)
		}
		for _, n := range []int{0, -1} {
			if list, err := p.Held(t.Context(), "posts", 0, "", n); len(list) != 0 || err != nil {
				t.Errorf("at most %d: %v, %v; want none", n, list, err)
			}
			if ms, why, err := p.Records(t.Context(), "posts", 0, "bad03", n); len(ms) != 0 || why != "boom" || err != nil {
				t.Errorf("at most %d records: %v, %q, %v; want none", n, ms, why, err)
			}
		}
		if s := p.part(t, 0); len(s.Strands) != 10 || s.Diverting.Held != 25 {
			t.Errorf("the snapshot has %d strands and %d held, want 10 and 25", len(s.Strands), s.Diverting.Held)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestOperationOnAKeyThatIsNotHeldChangesNothing(t *testing.T) { // seed 34
	for what, do := range operations {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pl := newPlay(t)
				pl.put("bad!", "bad", "cold")
				built, err := pipeline.From(source.NewSource(source.Config{}, source.NewLog("posts", 1))).HandleFunc(nothing).Build()
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(errBoom)
				pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 8}) }
				p := pl.process()
				time.Sleep(2 * time.Second)
				pl.put(slices.Repeat([]string{"hot"}, 60)...)
				time.Sleep(200 * time.Millisecond)
				for _, c := range []struct {
					name      string
					ctx       context.Context
					p         *pipeline.Pipeline
					partition int32
					lane      string
					want      error
				}{
					{"key that is not held", t.Context(), p.Pipeline, 0, "cold", pipeline.ErrNotHeld},
					{"key that is diverted", t.Context(), p.Pipeline, 0, "hot", pipeline.ErrNotHeld},
					{"key that never came", t.Context(), p.Pipeline, 0, "none", pipeline.ErrNotHeld},
					{"other partition", t.Context(), p.Pipeline, 1, "bad", pipeline.ErrNotOwned},
					{"pipeline without a store that does not run", t.Context(), built, 0, "bad", pipeline.ErrNotOwned},
					{"ctx that has ended", ctx, p.Pipeline, 0, "bad", errBoom},
				} {
					if _, err := do(c.ctx, c.p, c.partition, c.lane); !errors.Is(err, c.want) {
						t.Errorf("%s: %v, want %v", c.name, err, c.want)
					}
				}
				if _, err := do(t.Context(), p.Pipeline, 0, "\"x"); err == nil {
					t.Error("text of no lane: no error")
				}
				time.Sleep(time.Second)
				if list, err := p.Held(t.Context(), "posts", 0, "", 10); err != nil || len(list) != 1 || list[0].Records != 2 {
					t.Errorf("held %+v, %v; want bad with 2 records", list, err)
				}
				if err := p.stop(); err != nil {
					t.Error(err)
				}
				if _, err := do(t.Context(), p.Pipeline, 0, "bad"); !errors.Is(err, pipeline.ErrNotOwned) {
					t.Errorf("after Run: %v, want ErrNotOwned", err)
				}
			})
		})
	}
}

// An operation of which the store has failed, before or after it was stored, can be made again, and never discards a message
// that it does not name.
func TestOperationThatTheStoreFailsCanBeMadeAgain(t *testing.T) { // seed 34
	for what, do := range operations {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stored %v", what, stored), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pl := newPlay(t)
					pl.put("bad!", "bad", "bad", "cold")
					var out buffer
					pl.build = func(b *pipeline.Builder) { b.Logger(out.logger()) }
					p := pl.process()
					time.Sleep(2 * time.Second)
					failed, op := false, memory.Save
					if what == "list records" {
						op = memory.Read
					}
					pl.mu.Lock()
					pl.strike = func(_ int, c memory.Call) error {
						if failed || c.Stored != stored || c.Op != op {
							return nil
						}
						failed = true
						return errBoom
					}
					pl.mu.Unlock()
					if _, err := do(t.Context(), p.Pipeline, 0, "bad"); !errors.Is(err, errBoom) {
						t.Errorf("%v, want the error of the store", err)
					}
					out.wantLine(t, 0, "operator acted")
					time.Sleep(time.Second)
					pl.mu.Lock()
					pl.repaired["bad"] = what == "resume"
					pl.mu.Unlock()
					n, err := do(t.Context(), p.Pipeline, 0, "bad")
					if err != nil {
						t.Fatal(err)
					}
					want := map[string]struct {
						n, discarded int64
						attr         string
						handled      []int64
					}{
						"resume":       {3, 0, "records=3", []int64{0, 1, 2, 3}},
						"skip":         {0, 1, "offset=0", []int64{1, 2, 3}},
						"drop":         {3, 3, "records=3", []int64{3}},
						"list records": {3, 0, "", []int64{3}},
					}[what]
					time.Sleep(3 * time.Second)
					got := slices.Sorted(slices.Values(pl.handledOf()))
					if d := p.Snapshot().Diverting; n != want.n || d.Discarded != want.discarded || !slices.Equal(got, want.handled) {
						t.Errorf("returned %d, discarded %d, handled %v; want %+v", n, d.Discarded, got, want)
					}
					conserveDiverted(t, p.Snapshot())
					if want.attr != "" {
						out.wantLine(t, 1, "operator acted", `level=INFO .*posts.* action=`+what+` by=ann key=bad `+want.attr)
						if !pl.over() || p.Snapshot().Diverting.Bytes != 0 {
							t.Errorf("not all is handled: %+v", p.Snapshot())
						}
					}
					if err := p.stop(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// Resume and ResumeAll are for blocked keys. The snapshot says who waits for what.
func TestResumeLeavesHeldKeysToTheOperator(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.build = func(b *pipeline.Builder) { b.Limits(pipeline.Limits{KeyShare: 8, FetchMessages: 16}) }
		var calls atomic.Int32
		pl.seen = func(m *keystrand.Message) {
			if string(m.Key) == "bad" {
				calls.Add(1)
			}
		}
		pl.put("bad!", "bad", "bad", "bad")
		p := pl.process()
		time.Sleep(2 * time.Second)
		if p.Resume("posts", 0, "bad") {
			t.Error("Resume says that it has resumed a held key")
		}
		if n := p.ResumeAll("posts", 0); n != 0 {
			t.Errorf("ResumeAll says that it has resumed %d keys", n)
		}
		time.Sleep(2 * time.Second)
		if n := calls.Load(); n != 1 {
			t.Errorf("the handler was called %d times for the held key, want once", n)
		}
		pl.mu.Lock()
		pl.trouble = func(ctx context.Context, c memory.Call) error { // the log of hot cannot be read for a while
			if c.Op == memory.Read && !c.Stored && c.Key == "hot" {
				return untilFree(ctx, 10*time.Second)
			}
			return nil
		}
		pl.mu.Unlock()
		pl.put(slices.Repeat([]string{"hot"}, 40)...)
		time.Sleep(2 * time.Second)
		s := p.part(t, 0)
		why := map[string]pipeline.KeySnapshot{}
		for _, k := range s.ParkedKeys {
			why[k.Key] = k
		}
		if k := why["bad"]; k.Why != pipeline.WhyHeld || k.Err != "boom" || k.Attempt != 0 && k.Attempt != 1 {
			t.Errorf("bad waits for %v, %+v; want an operator", k.Why, k)
		}
		if k := why["hot"]; k.Why != pipeline.WhyLog {
			t.Errorf("hot waits for %v, %+v; want the store", k.Why, k)
		}
		if len(s.Strands) != 2 || s.Strands[0].Key != "hot" || s.Strands[0].State != pipeline.StrandDiverted && s.Strands[0].State != pipeline.StrandClosing || s.Strands[1].Key != "bad" ||
			s.Strands[1].State != pipeline.StrandHeld || s.Strands[0].Records <= s.Strands[1].Records {
			t.Errorf("strands %+v; want hot with the most records, then bad, held", s.Strands)
		}
		time.Sleep(20 * time.Second)
		p.operate()
		time.Sleep(5 * time.Second)
		if err := p.stop(); err != nil && !errors.Is(err, errBoom) {
			t.Error(err)
		}
	})
}

// untilFree blocks for a time, or until ctx ends.
func untilFree(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// The strand began ten hours before the message that it waits with now.
func TestAgeOfAHeldKeyIsThatOfItsFirstMessageAlsoAfterARestart(t *testing.T) { // seed 34
	synctest.Test(t, func(t *testing.T) {
		pl := newPlay(t)
		pl.put("bad!")
		p := pl.process()
		time.Sleep(10 * time.Hour)
		pl.put("bad!", "bad")
		time.Sleep(time.Second)
		if _, err := p.SkipHeld(t.Context(), "posts", 0, "bad", "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		age := func() time.Duration {
			t.Helper()
			list, err := p.Held(t.Context(), "posts", 0, "", 1)
			if err != nil || len(list) != 1 || list[0].Records != 2 {
				t.Fatalf("held %+v, %v; want bad with 2 records", list, err)
			}
			if oldest := p.Snapshot().Diverting.Oldest; oldest != list[0].Age {
				t.Errorf("the oldest is %v old, the key %v", oldest, list[0].Age)
			}
			return list[0].Age.Round(time.Second)
		}
		if got := age(); got != 10*time.Second {
			t.Errorf("it is held since %v, want 10s", got)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		p = pl.process()
		time.Sleep(10 * time.Second)
		if got := age(); got != 20*time.Second {
			t.Errorf("after a restart it is held since %v, want 20s", got)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}
