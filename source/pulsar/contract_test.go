package pulsar

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/sourcetest"
)

func fakeEnv(b *fakeBroker, cfg Config) sourcetest.Env {
	const topic, partitions = "orders", 3
	b.create(topic, partitions)
	clients := make(map[source.Source]*fakeClient)
	joined := 0
	env := sourcetest.Env{
		Stream:     stream(topic),
		Partitions: partitions,
		Group:      "billing",
		Join: func() (source.Source, error) {
			// The first by name gets partition 0, so it moves to the last to join.
			own := cfg
			own.Name = fmt.Sprintf("member-%03d", 999-joined)
			joined++
			s, c, err := b.source(own, topic)
			clients[s] = c
			return s, err
		},
		Produce: func(partition int32, msgs ...keystrand.Message) error {
			for _, m := range msgs {
				b.produce(partitionName(topic, partition), m)
			}
			return nil
		},
		Crash: func(src source.Source) error {
			clients[src].crash()
			return nil
		},
		Lose: func(_ source.Source, id source.ID) error {
			b.cut(partitionName(topic, id.Partition), "")
			return nil
		},
		Withholds: cfg.Store == nil,
		NoNil:     true,
		Patience:  3 * time.Second,
		Wait:      10 * time.Minute,
	}
	if cfg.Store != nil {
		return env
	}
	env.Recreate = func() error {
		if !b.index { // indexes would show it; here the reader of the old log must notice its end
			for n := range int32(partitions) {
				b.cut(partitionName(topic, n), "")
			}
		}
		b.recreate(topic)
		return nil
	}
	return env
}

func TestSourceContract(t *testing.T) {
	for _, index := range []bool{true, false} {
		t.Run(fmt.Sprintf("index=%t", index), func(t *testing.T) {
			contract(t, func() *fakeBroker {
				b := newFakeBroker()
				b.index = index
				return b
			}, func() Config { return Config{} })
		})
	}
	t.Run("stored", func(t *testing.T) {
		contract(t, newFakeBroker, func() Config { return Config{Store: newMemStore()} })
	})
}

func contract(t *testing.T, broker func() *fakeBroker, cfg func() Config) {
	t.Helper()
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := cfg()
				env := fakeEnv(broker(), cfg)
				if why, there := noWay(cfg)[c.Name]; there {
					cannot(t, c, env, why)
					return
				}
				c.Test(t, env)
			})
		})
	}
}
