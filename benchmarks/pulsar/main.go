// Command pulsar measures keystrand on a Pulsar, and compares a loop on the client library.
//
//	go run ./benchmarks/pulsar -pulsar pulsar://localhost:6650 -admin http://localhost:8080
//	go run ./benchmarks/pulsar -pulsar ... -only acks     # one part
//	go run ./benchmarks/pulsar -pulsar ... -json          # each row as a JSON object
//	go run ./benchmarks/pulsar -pulsar ... -short         # a minute or two: rough figures
//
// The parts are
//   - throughput: an empty handler, compared with a Receive loop;
//   - acks: the cost of acknowledgements of messages settled in random order;
//   - crash: messages replayed after kill -9 with 5,000 gaps;
//   - restart: the first message of a member that starts, and the stop of an idle one.
//
// docs/benchmarks.md explains each figure. Each measurement runs in a process of its own, which is this program again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/pulsarbench"
)

// run is one run of the command.
type run struct {
	pulsar *pulsarbench.Cluster
	json   bool
	short  bool
}

type part struct {
	name string
	does func(context.Context, *run) error
}

func main() {
	bench.ServeWork(map[string]bench.Work{
		"read":   bench.WorkOf(read),
		"settle": bench.WorkOf(settle),
		"member": bench.WorkOf(member),
	})
	url := flag.String("pulsar", "", "URL of a Pulsar (required: none is embedded)")
	admin := flag.String("admin", "", "URL of Pulsar's web service (default http://HOST:8080)")
	asJSON := flag.Bool("json", false, "print each row as a JSON object")
	short := flag.Bool("short", false, "run for a minute or two only: rough figures")
	only := flag.String("only", "", "comma-separated parts to run (default: all)")
	flag.Parse()
	if err := all(*url, *admin, *only, &run{json: *asJSON, short: *short}); err != nil {
		fmt.Fprintln(os.Stderr, "pulsar:", err)
		os.Exit(1)
	}
}

func all(url, admin, only string, r *run) error {
	parts := []part{{"throughput", throughput}, {"acks", acks}, {"crash", crash}, {"restart", restart}}
	parts, err := bench.Chosen(only, parts, func(p part) string { return p.name })
	if err != nil {
		return err
	}
	if url == "" {
		return pulsarbench.NeedBroker()
	}
	if admin == "" {
		admin = pulsarbench.AdminOf(url)
	}
	limit := 30 * time.Minute
	if r.short {
		limit = 230 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if !r.json {
		fmt.Printf("%s, on %s\n", bench.Machine(), url)
	}
	if r.pulsar, err = pulsarbench.New(url, admin); err != nil {
		return err
	}
	defer r.pulsar.Close()
	for _, p := range parts {
		err := p.does(ctx, r)
		if forgot := r.pulsar.Forget(context.WithoutCancel(ctx)); err == nil {
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
