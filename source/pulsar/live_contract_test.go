package pulsar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"
	"unsafe" //nolint:depguard // the connections of the library are in a field that is not exported

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsartest"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/sourcetest"
)

// noWay lists the cases that Pulsar cannot produce.
func noWay(cfg Config) map[string]string {
	const skips = "the end of a topic moves with messages only, but for transactions, which the source does not take part in"
	all := map[string]string{
		"OffsetsAscendAndMaySkip":      skips,
		"PositionMovesWithoutMessages": skips,
		"LagReachesZero":               "brokers tell a consumer where a topic ends, but not how many messages that is away",
		"PrefetchEndsWithRelease":      "the client library does not tell how many bytes it holds",
		"FiniteEndsWithEOF":            "brokers do not tell a consumer which messages they will withhold, so it cannot know the last one that comes",
	}
	if cfg.Store != nil { // another test covers a topic that is created again
		const cluster = "progress in a store names the cluster, not the log"
		all["RecreatedLogIsNotSkipped"], all["LogRecreatedUnderItsOwner"] = cluster, cluster
	}
	return all
}

func TestLiveSourceContract(t *testing.T) {
	liveContract(t, func(c sourcetest.Case) bool { return !recreates(c) })
}

// Soak: the topic is deleted under its owner.
func TestSoakSourceContract(t *testing.T) {
	liveContract(t, recreates)
}

// recreates reports whether a case deletes the stream and creates it again.
func recreates(c sourcetest.Case) bool {
	return c.Name == "RecreatedLogIsNotSkipped" || c.Name == "LogRecreatedUnderItsOwner"
}

// liveContract runs the cases of the contract that want selects.
func liveContract(t *testing.T, want func(sourcetest.Case) bool) {
	t.Helper()
	for _, flavour := range []struct {
		name   string
		broker func(*testing.T) live
		change func(*testing.T, *Config)
	}{
		{"numbered messages", liveBroker, func(*testing.T, *Config) {}},
		{"as brokers come", liveDefault, func(*testing.T, *Config) {}},
		{"with a store", liveDefault, func(t *testing.T, c *Config) { t.Helper(); c.Store = newSQLStore(t) }},
	} {
		t.Run(flavour.name, func(t *testing.T) {
			broker := flavour.broker(t)
			for _, c := range sourcetest.Cases() {
				if !want(c) {
					continue
				}
				t.Run(c.Name, func(t *testing.T) {
					if c.Name != "CloseEndsGoroutines" { // it counts goroutines of the whole process
						t.Parallel()
					}
					cfg := broker.config(t)
					flavour.change(t, &cfg)
					env := broker.env(t, cfg)
					if why, there := noWay(cfg)[c.Name]; there {
						cannot(t, c, env, why)
						return
					}
					c.Test(t, env)
				})
			}
		})
	}
}

// cannot checks the list above: a case that can run must leave it.
func cannot(t *testing.T, c sourcetest.Case, env sourcetest.Env, why string) {
	t.Helper()
	err := c.Run(t.Context(), env)
	if _, missing := errors.AsType[*sourcetest.MissingError](err); !missing {
		t.Fatalf("the case is listed in noWay, and ran: %v", err)
	}
	t.Logf("%v: %s", err, why)
}

func (l live) env(t *testing.T, cfg Config) sourcetest.Env {
	t.Helper()
	const partitions = 3
	// Not where brokers create topics on request: while the topic is deleted, a look-up of the source would create it.
	topic := fmt.Sprintf("persistent://%s/t%d", l.strict(t), time.Now().UnixNano())
	if err := l.admin.Create(t.Context(), topic, partitions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.admin.Remove(context.Background(), topic, partitions) })
	producers := make(map[int32]pulsar.Producer)
	joined := 0
	env := sourcetest.Env{
		Stream:     topic,
		Partitions: partitions,
		Group:      "suite",
		Join: func() (source.Source, error) {
			// A broker sorts candidates by name, and the first gets partition 0, so it moves to the last to join.
			own := cfg
			own.Name = fmt.Sprintf("member-%03d", 999-joined)
			joined++
			return New(l.url, "suite", []string{topic}, own)
		},
		Produce: func(partition int32, msgs ...keystrand.Message) error {
			if producers[partition] == nil {
				// In batches: the library loses an unbatched message without value and properties.
				producers[partition] = l.producer(t, partitionName(topic, partition), func(o *pulsar.ProducerOptions) {
					o.DisableBatching = false
					o.BatchingMaxMessages = 1
				})
			}
			return send(t.Context(), producers[partition], msgs...)
		},
		Recreate: func() error {
			for _, p := range producers {
				p.Close()
			}
			clear(producers)
			if err := l.quiet(t, topic, partitions); err != nil {
				return err
			}
			if err := l.admin.Remove(t.Context(), topic, partitions); err != nil {
				return err
			}
			return l.admin.Create(t.Context(), topic, partitions)
		},
		Crash: crash,
		// Not by an unload: the broker may forget its last confirmations.
		Lose:      func(src source.Source, _ source.ID) error { return cut(src) },
		Withholds: cfg.Store == nil,
		NoNil:     true,
		Patience:  2 * time.Second, // an election takes one
		Wait:      30 * time.Second,
	}
	if cfg.Store != nil {
		env.Recreate = nil
	}
	return env
}

// quiet waits, a few seconds at most, until the suite has attached to all partitions and no cursor changes. A broker (4.0.8) that
// deletes a topic meanwhile leaves a broken topic behind, which it lists and cannot delete.
func (l live) quiet(t *testing.T, topic string, partitions int32) error {
	t.Helper()
	for n := range partitions {
		for range 20 {
			var stats struct {
				Cursors map[string]struct{ State string }
			}
			if err := l.admin.Do(t.Context(), http.MethodGet, pulsartest.Path(partitionName(topic, n))+"/internalStats", nil, &stats); err != nil {
				return err
			}
			if state := stats.Cursors["suite"].State; state == "Open" || state == "NoLedger" {
				break
			}
			time.Sleep(250 * time.Millisecond) // real time: waits for a broker
		}
	}
	return nil
}

func partitionName(topic string, number int32) string {
	return fmt.Sprintf("%s-partition-%d", topic, number)
}

// crash cuts the connections of a source, so that it cannot tell the broker anything, and closes it.
func crash(src source.Source) error {
	if err := cut(src); err != nil {
		return err
	}
	_ = src.Close() // fails: partitions are not released
	return nil
}

// cut closes the connections of a source under its client. The library has no call for that: its Close tells the broker of
// each consumer first.
func cut(src source.Source) error {
	s, ok := src.(*Source)
	if !ok {
		return fmt.Errorf("cut off a %T", src)
	}
	s.mu.Lock()
	c := s.client
	s.mu.Unlock()
	lib := reflect.ValueOf(c).Elem().FieldByName("Client")
	if !lib.IsValid() {
		return fmt.Errorf("cut off a source with a %T", c)
	}
	pool := reflect.ValueOf(lib.Interface()).Elem().FieldByName("cnxPool")
	if !pool.IsValid() {
		return errors.New("the client library keeps its connections elsewhere now: find another way to cut them")
	}
	pool = reflect.NewAt(pool.Type(), unsafe.Pointer(pool.UnsafeAddr())).Elem()
	connections := pool.MethodByName("GetConnections").Call(nil)[0]
	if connections.Len() == 0 {
		return errors.New("cut off a source without a connection")
	}
	for _, name := range connections.MapKeys() {
		connections.MapIndex(name).MethodByName("Close").Call(nil)
	}
	return nil
}
