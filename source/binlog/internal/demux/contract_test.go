package demux

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/sourcetest"
)

// produced is a message of the suite, as a row has it.
type produced struct {
	Key, Value []byte
	Headers    []keystrand.Header
}

// env returns the suite's view of a log with three tables.
func env(cfg Config) sourcetest.Env {
	names := []string{"shop.orders", "shop.items", "shop.stock"}
	log, store := newFakeLog(1, names...), newMemStore()
	cfg.Package, cfg.Store = "demux", store
	sources := make(map[source.Source]*Source)
	return sourcetest.Env{
		Partitions: len(names),
		ID:         func(i int) (string, int32) { return names[i], 0 },
		Join: func() (source.Source, error) {
			s, err := New(log, cfg)
			sources[s] = s
			return s, err
		},
		Produce: func(partition int32, msgs ...keystrand.Message) error {
			for len(msgs) > 0 { // transactions of several events
				var events []Event
				for len(events) < 4 && len(msgs) > 0 {
					n := min(len(msgs), 3)
					var texts []string
					for _, m := range msgs[:n] {
						text, err := json.Marshal(produced{m.Key, m.Value, m.Headers})
						if err != nil {
							return fmt.Errorf("encode: %w", err)
						}
						texts = append(texts, string(text))
					}
					events, msgs = append(events, rows(names[partition], texts...)), msgs[n:]
				}
				log.commit(events...)
			}
			return nil
		},
		Plain: func(m keystrand.Message) keystrand.Message {
			var p produced
			if err := json.Unmarshal([]byte(textOf(&m)), &p); err != nil {
				panic(err)
			}
			m.Key, m.Value, m.Headers = p.Key, p.Value, p.Headers
			return m
		},
		Skip: func(int32) (int64, error) {
			log.commit()
			log.mu.Lock()
			defer log.mu.Unlock()
			return log.offset, nil
		},
		// Another server that has the same transactions, but none of their rows.
		Recreate: func() error {
			log.mu.Lock()
			identity := log.identity + "'"
			for i := range log.txns {
				log.txns[i].events = nil
			}
			log.mu.Unlock()
			log.replace(identity, nil)
			return nil
		},
		Crash: func(src source.Source) error {
			s := sources[src]
			if s == nil {
				return errors.New("not a source of this log")
			}
			s.cancel()
			return nil
		},
		Alone:    true,
		Patience: 3 * time.Second,
		Wait:     10 * time.Minute,
	}
}

func TestSourceKeepsTheContract(t *testing.T) {
	for name, cfg := range map[string]Config{
		"default":  {},
		"no room":  {TableBytes: 1, QueueBytes: 1},
		"one turn": {TableBytes: 3000, CatchUp: 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range sourcetest.Cases() {
				t.Run(c.Name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { c.Test(t, env(cfg)) })
				})
			}
		})
	}
}
