// Command binlog measures keystrand on a binary log, and compares a loop on go-mysql.
//
//	go run ./benchmarks/binlog                                              # on a stub: a machine with nothing but Go
//	go run ./benchmarks/binlog -dsn 'user:password@tcp(127.0.0.1:3306)/'    # on a MariaDB
//	go run ./benchmarks/binlog -only throughput                             # one part
//	go run ./benchmarks/binlog -json                                        # each row as a JSON object
//	go run ./benchmarks/binlog -short                                       # a minute or two: rough figures
//
// The parts are
//   - throughput: the source alone and a pipeline with an empty handler, compared with a loop of go-mysql;
//   - filter: nine of ten rows belong to tables that are not wanted;
//   - tables: one reader of 8 tables, compared with a connection for each;
//   - restart: 49 tables have caught up, and one is a million rows behind;
//   - large: the memory that one transaction of 1 GiB takes;
//   - idle: the commits of a thousand tables beside a busy one.
//
// docs/benchmarks.md explains each figure. Measured processes are this program again; the stub is in the first one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/binlogbench"
)

// run is one run of the command.
type run struct {
	dsn   string
	json  bool
	short bool
	log   string // what is read, for people
}

type part struct {
	name string
	does func(context.Context, *run, binlogbench.Primary) error
}

func main() {
	bench.ServeWork(map[string]bench.Work{
		"read":  bench.WorkOf(read),
		"large": bench.WorkOf(readLarge),
	})
	r := &run{}
	flag.StringVar(&r.dsn, "dsn", "", "data source name of a MariaDB (default: a stub in this process)")
	flag.BoolVar(&r.json, "json", false, "print each row as a JSON object")
	flag.BoolVar(&r.short, "short", false, "run for a minute or two only: rough figures")
	only := flag.String("only", "", "comma-separated parts to run (default: all)")
	flag.Parse()
	if err := r.all(*only); err != nil {
		fmt.Fprintln(os.Stderr, "binlog:", err)
		os.Exit(1)
	}
}

func (r *run) all(only string) error {
	parts := []part{
		{"throughput", throughput},
		{"filter", filter},
		{"tables", tables},
		{"restart", restart},
		{"large", large},
		{"idle", idle},
	}
	parts, err := bench.Chosen(only, parts, func(p part) string { return p.name })
	if err != nil {
		return err
	}
	limit := 40 * time.Minute
	if r.short {
		limit = 270 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r.log = "stub"
	if r.dsn != "" {
		r.log = "MariaDB"
	}
	if !r.json {
		fmt.Printf("%s, on a %s\n", bench.Machine(), r.log)
	}
	for _, p := range parts {
		if err := r.part(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// part runs a part on tables of its own.
func (r *run) part(ctx context.Context, p part) error {
	primary, err := r.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(p.does(ctx, r, primary), primary.Close())
}

func (r *run) open(ctx context.Context) (binlogbench.Primary, error) {
	if r.dsn != "" {
		return binlogbench.Open(ctx, r.dsn)
	}
	return binlogbench.NewStub(ctx)
}

// pick returns its first value in a full run, and its second one in a short run.
func pick[T any](r *run, full, short T) T {
	if r.short {
		return short
	}
	return full
}

// numbered returns the names t0, t1 and so on.
func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("t", i)
	}
	return names
}
