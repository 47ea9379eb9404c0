package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// An operator copies the key from the snapshot, with any bytes and from any source.
func TestResumeAcceptsTheKeyThatTheSnapshotPrints(t *testing.T) {
	for name, key := range map[string]keystrand.KeyFunc{
		"keys of the messages": nil,
		"keys of a key function": func(m *keystrand.Message) (keystrand.Key, error) {
			return keystrand.KeyOfString("\xff" + string(m.Key)), nil
		},
		"the key of the partition": keystrand.ByPartition,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.NewLog("posts", 1)
				keys := [][]byte{[]byte("plain"), {}, []byte(`"quoted"`), []byte("quoted"), {0xff, 0}, []byte("a b\n"), []byte(" a")}
				for _, k := range keys {
					log.Append(0, keystrand.Message{Key: k})
				}
				var healed atomic.Bool
				b := pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).OnFailure(pipeline.Block).
					HandleFunc(func(context.Context, *keystrand.Message) error {
						if !healed.Load() {
							return errors.New("not yet")
						}
						return nil
					})
				if key != nil {
					b.Key(key)
				}
				run := start(t, b)
				time.Sleep(time.Second)
				healed.Store(true)
				parked := run.part(t, 0).ParkedKeys
				if o := run.part(t, 0).Oldest; o == nil || !slices.ContainsFunc(parked, func(k pipeline.KeySnapshot) bool { return k.Key == o.Key }) {
					t.Errorf("oldest = %+v, not in %+v", o, parked)
				}
				if run.Resume("posts", 0, "") || run.Resume("posts", 0, `"`) {
					t.Error("Resume accepts a text that names no lane")
				}
				for _, k := range parked {
					if !run.Resume("posts", 0, k.Key) {
						t.Errorf("Resume reported false for the parked key %s", k.Key)
					}
				}
				time.Sleep(time.Second)
				if p := run.part(t, 0); p.Frontier != int64(len(keys)) {
					t.Errorf("frontier %d, want %d", p.Frontier, len(keys))
				}
				if err := run.stop(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestSnapshotDistinguishesUnorderedMessagesFromTheEmptyKey(t *testing.T) {
	for want, key := range map[string]keystrand.KeyFunc{"": keystrand.Unordered, `""`: keystrand.ByPartition} {
		synctest.Test(t, func(t *testing.T) {
			log := memory.NewLog("posts", 1)
			log.Append(0, keyed("k"))
			run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Key(key).OnFailure(pipeline.Block).
				HandleFunc(func(context.Context, *keystrand.Message) error { return errors.New("boom") }))
			time.Sleep(time.Second)
			if p := run.part(t, 0); p.Oldest == nil || p.Oldest.Key != want {
				t.Errorf("oldest %+v, want the key %s", p.Oldest, want)
			}
			if err := run.stop(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestStuckHandlerIsNamedByTheTextOfItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("not the lane"))
		let := make(chan struct{})
		var first atomic.Bool
		var logged string
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			Key(func(*keystrand.Message) (keystrand.Key, error) { return keystrand.KeyOfString("\x00\xff"), nil }).
			HandleFunc(deaf(let, &first)).AbandonStuck().
			Timing(pipeline.Timing{DrainTimeout: time.Second}).Logger(slog.New(&attribute{name: "keys", value: &logged})))
		synctest.Wait()
		const text = `"\x00\xff"`
		if o := run.part(t, 0).Oldest; o == nil || o.Key != text {
			t.Errorf("oldest = %+v, want the key %s", o, text)
		}
		err := run.stop()
		stuck, ok := errors.AsType[*pipeline.StuckError](err)
		if !ok || stuck.Handlers[0].Key != text || !strings.Contains(err.Error(), "key "+text) || logged != "["+text+"]" {
			t.Errorf("Run = %v, logged keys %s; want the text %s in both", err, logged, text)
		}
		close(let)
	})
}
