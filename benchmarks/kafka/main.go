// Command kafka measures keystrand on Kafka, and compares hand-written programs.
//
//	go run ./benchmarks/kafka                            # on an embedded broker, in a process of its own
//	go run ./benchmarks/kafka -brokers localhost:9092    # on a real one
//	go run ./benchmarks/kafka -only crash                # one part
//	go run ./benchmarks/kafka -json                      # each row as a JSON object
//	go run ./benchmarks/kafka -short                     # a minute or two: rough figures
//
// The parts are
//   - throughput: an empty handler, compared with a loop on the same fetch path;
//   - cost: CPU and memory of a service;
//   - hot, stuck: the effect of one hot or stuck key on the others;
//   - hotkeys: latencies beside hot keys in an open loop, without and with a store of diverted keys; about 25 minutes;
//   - crash: messages replayed after kill -9;
//   - handover: the pause of a partition when a member joins;
//   - restart: the first message of a member that starts, and the stop of an idle one.
//
// docs/benchmarks.md explains each figure. Each measurement runs in a process of its own, which is this program again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/kafkabench"
)

const (
	partitions   = 8
	largeBatches = 200_000 // bytes
)

// run is one run of the command.
type run struct {
	kafka   *kafkabench.Kafka
	json    bool
	short   bool
	session time.Duration
	load    time.Duration // of hotkeys
	rate    int
	rounds  int
}

type part struct {
	name string
	does func(context.Context, *run) error
}

func main() {
	bench.ServeWork(map[string]bench.Work{
		kafkabench.BrokerWork: bench.WorkOf(kafkabench.Broker),
		"read":                bench.WorkOf(read),
		"burn":                bench.WorkOf(burn),
		"block":               bench.WorkOf(block),
		"member":              bench.WorkOf(member),
		"hotmember":           bench.WorkOf(hotMember),
	})
	brokers := flag.String("brokers", "", "comma-separated addresses of a Kafka (default: an embedded broker)")
	asJSON := flag.Bool("json", false, "print each row as a JSON object")
	short := flag.Bool("short", false, "run for a minute or two only: rough figures")
	only := flag.String("only", "", "comma-separated parts to run (default: all)")
	session := flag.Duration("session", 0, "session timeout of members that will be killed (default 6s, or 1s on the embedded broker)")
	load := flag.Duration("load", time.Minute, "hotkeys: how long keys are hot in a full run")
	rate := flag.Int("rate", 1_500, "hotkeys: messages a second of the cold keys")
	rounds := flag.Int("rounds", 1, "hotkeys: rounds of a full run")
	flag.Parse()
	r := &run{json: *asJSON, short: *short, session: *session, load: *load, rate: *rate, rounds: *rounds}
	if err := all(*brokers, *only, r); err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		os.Exit(1)
	}
}

func all(brokers, only string, r *run) error {
	parts := []part{{"throughput", throughput}, {"cost", cost}, {"hot", hot}, {"hotkeys", hotKeys}, {"stuck", stuck}, {"crash", crash}, {"handover", handover}, {"restart", restart}}
	parts, err := bench.Chosen(only, parts, func(p part) string { return p.name })
	if err != nil {
		return err
	}
	limit := 40*time.Minute + 25*r.load*time.Duration(r.rounds)
	if r.short {
		limit = 230 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	where := "the brokers " + brokers
	addresses := strings.Split(brokers, ",")
	if brokers == "" {
		where = "an embedded broker in a process of its own"
		a, broker, err := kafkabench.StartBroker(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = broker.Stop() }() // an error at its end changes no figure
		addresses = a
		r.session = max(r.session, time.Second)
	}
	if r.session == 0 {
		r.session = 6 * time.Second
	}
	if !r.json {
		fmt.Printf("%s, on %s\n", bench.Machine(), where)
	}
	if r.kafka, err = kafkabench.New(addresses, largeBatches); err != nil {
		return err
	}
	defer r.kafka.Close()
	for _, p := range parts {
		err := p.does(ctx, r)
		if forgot := r.kafka.Forget(context.WithoutCancel(ctx)); err == nil {
			err = forgot
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// pick returns its first value in a full run, and its second one in a short run.
func pick[T any](r *run, full, short T) T {
	if r.short {
		return short
	}
	return full
}

// fill creates a topic with r.kafka.
func (r *run) fill(ctx context.Context, keys *bench.Keys, value int) (string, error) {
	return fill(ctx, r.kafka, keys, value)
}

// fill creates a topic of messages with these keys, and values of so many bytes. The number of a key modulo partitions is
// its partition.
func fill(ctx context.Context, k *kafkabench.Kafka, keys *bench.Keys, value int) (string, error) {
	v := make([]byte, value)
	for i := range v {
		v[i] = byte('a' + i%26)
	}
	return k.Fill(ctx, partitions, keys.Len(), func(i int) (int32, []byte, []byte) {
		return int32(keys.Number(i) % partitions), keys.At(i), v
	})
}
