// Command drc shows a pipeline over the row changes of 24 tables: order per row, exact restart, and a slow table that holds up
// no other.
//
// It starts a DRC-style service with 4 topics of 6 tables, whose rows a generator changes. A process of its own reads all of them
// with one pipeline of 100 workers, and keeps its progress in an SQLite file. One table may be changed at a small rate only, so it
// falls behind. Then the process is killed with kill -9 and another one starts, without that limit. At the end a table says whether
// a row was lost, out of order or handled again. Beside it stand the figures of one client for each table.
//
//	go run ./examples/drc                              # needs nothing but Go
//	go run ./examples/drc -slow topic-2/shop2.table3   # another slow table
//	go run ./examples/drc -json                        # prints one object; progress goes to standard error
//
// With -mysql it reads the binary log of a server instead, from its oldest file on, for half a minute. It writes nothing to the server.
//
//	go run ./examples/drc -mysql 'user:password@tcp(localhost:3306)/'
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/source/binlog/drc"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

func main() {
	if err := run(flag.CommandLine, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "drc:", err)
		os.Exit(1)
	}
}

// run runs the demo, or one of its processes. It returns an error if something failed or a promise was broken.
func run(flags *flag.FlagSet, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	slow := flags.String("slow", "topic-1/shop1.table1", "table that may be changed at a small rate only; empty: none")
	rows := flags.Int("rows", 7_500, "rows of each topic, from 6,000 to 20,000")
	seed := flags.Uint64("seed", 1, "seed of the changes")
	asJSON := flags.Bool("json", false, "print the result as one JSON object; progress goes to standard error")
	dsn := flags.String("mysql", "", "read the binary log of this MariaDB or MySQL, as user:password@tcp(host:port)/ or with a database behind it")
	member := flags.String("member", "", "internal, the demo starts itself with it: read the service at this URL")
	store := flags.String("store", "", "internal: the file with the progress of a member")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: this program takes only flags, -h lists them", flags.Arg(0))
	}
	g := drc.Generator{Seed: *seed, Rows: *rows, Rate: rowsPerS, DDL: 500, Keys: 300}
	if *member != "" {
		return service{url: *member, topics: g.TopicNames(), store: *store, slow: *slow}.run(show.UntilInputEnds(stdin))
	}
	if *dsn != "" {
		return runWatch(*dsn, given(flags, "slow"), *asJSON, stdout, stderr)
	}
	if *rows < 6_000 || *rows > 20_000 {
		return fmt.Errorf("-rows %d: use a number from 6000 to 20000", *rows)
	}
	if all := tables(g); *slow != "" && !slices.Contains(all, *slow) {
		return fmt.Errorf("-slow %q: there is no such table: the tables are %s to %s", *slow, all[0], all[len(all)-1])
	}
	d := &demo{generator: g, slow: *slow, out: show.NewOutput(stdout), start: show.StartProcess}
	write := result.writeText
	if *asJSON {
		d.out, write = show.NewOutput(stderr), result.writeJSON
	}
	began := time.Now()
	r, err := d.all()
	if err != nil {
		return err
	}
	r.Seconds = time.Since(began).Seconds()
	return cmp.Or(write(r, stdout), r.Broken())
}

// runWatch reads a real server. slow is the stream of a slow table.
func runWatch(dsn, slow string, asJSON bool, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	w := &watch{dsn: dsn, start: mysql.Oldest(), slow: slow, out: show.NewOutput(stdout)}
	write := watched.writeText
	if asJSON {
		w.out, write = show.NewOutput(stderr), watched.writeJSON
	}
	r, err := w.run(ctx)
	if err != nil {
		return err
	}
	return write(r, stdout)
}

// given returns the value of a flag, and nothing if it is the default.
func given(flags *flag.FlagSet, name string) (value string) {
	flags.Visit(func(f *flag.Flag) {
		if f.Name == name {
			value = f.Value.String()
		}
	})
	return value
}

// tables returns the streams of the generated tables.
func tables(g drc.Generator) (all []string) {
	for i, topic := range g.TopicNames() {
		for n := range tablesEach {
			all = append(all, fmt.Sprintf("%s/shop%d.table%d", topic, i+1, n+1))
		}
	}
	return all
}
