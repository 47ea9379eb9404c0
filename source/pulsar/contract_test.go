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
	env := sourcetest.Env{
		Stream:     topic,
		Partitions: partitions,
		Join: func() (source.Source, error) {
			s, c, err := b.source(cfg, topic)
			clients[s] = c
			return s, err
		},
		Produce: func(partition int32, msgs ...keystrand.Message) error {
			for _, m := range msgs {
				b.produce(fmt.Sprintf("%s-partition-%d", topic, partition), m)
			}
			return nil
		},
		Crash: func(src source.Source) error {
			clients[src].crash()
			return nil
		},
		Withholds: true,
		NoNil:     true,
		Patience:  3 * time.Second,
		Wait:      10 * time.Minute,
	}
	if b.index {
		env.Recreate = func() error {
			b.recreate(topic)
			return nil
		}
	}
	return env
}

func TestSourceContract(t *testing.T) {
	for _, index := range []bool{true, false} {
		for _, byBatch := range []bool{true, false} {
			t.Run(fmt.Sprintf("index=%t,byBatch=%t", index, byBatch), func(t *testing.T) {
				for _, c := range sourcetest.Cases() {
					t.Run(c.Name, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							b := newFakeBroker()
							b.index, b.batchAcks = index, byBatch
							c.Test(t, fakeEnv(b, Config{BatchIndexAcks: byBatch}))
						})
					})
				}
			})
		}
	}
}
