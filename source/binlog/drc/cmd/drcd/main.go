// Command drcd is a DRC-style service for trying things out. It serves generated or recorded changes of rows as lines of JSON
// over HTTP, keeps everything in memory, and prints its address. It runs until it is interrupted. Docs/drc.md describes the
// protocol.
//
//	go run ./source/binlog/drc/cmd/drcd                        # 4 topics of 6 tables, 1000 rows a second in each topic
//	go run ./source/binlog/drc/cmd/drcd -rate 0 -rows 1000000  # as fast as it can
//	go run ./source/binlog/drc/cmd/drcd -file shop=shop.jsonl  # a topic shop, with the records of a file
//
//	curl -N localhost:7070/topics/topic-1/records
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/keystrand/keystrand/source/binlog/drc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.CommandLine, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "drcd:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	address   string
	generator drc.Generator
	config    drc.ServerConfig
	files     map[string]string // by topic
}

func parse(flags *flag.FlagSet, args []string) (options, error) {
	o := options{files: make(map[string]string)}
	flags.StringVar(&o.address, "addr", "localhost:7070", "address to listen on")
	flags.Uint64Var(&o.generator.Seed, "seed", 1, "seed of the generated changes")
	flags.IntVar(&o.generator.Topics, "topics", 4, "number of topics")
	flags.IntVar(&o.generator.Tables, "tables", 6, "number of tables in each topic")
	flags.IntVar(&o.generator.Rows, "rows", 0, "rows to make in each topic (default: no end)")
	flags.IntVar(&o.generator.Rate, "rate", 1000, "rows a second in each topic; 0: as many as the machine can make")
	flags.IntVar(&o.generator.DDL, "ddl", 1000, "transactions from one ALTER TABLE of a topic to the next")
	flags.IntVar(&o.config.Retain, "retain", 100_000, "rows that each topic keeps")
	flags.StringVar(&o.config.Log, "log", "", "name in checkpoints; name one again only with the same flags (default: a random one)")
	flags.Func("file", "TOPIC=FILE: serve recorded lines, not generated ones; may be given several times", func(text string) error {
		topic, file, found := strings.Cut(text, "=")
		if !found {
			return errors.New("want TOPIC=FILE")
		}
		o.config.Topics = append(o.config.Topics, topic)
		o.files[topic] = file
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q: this program takes only flags, -h lists them", flags.Arg(0))
	}
	if len(o.files) == 0 {
		o.config.Topics = o.generator.TopicNames()
	}
	return o, nil
}

// run serves until ctx ends. It returns an error if the server or a feed fails.
func run(ctx context.Context, flags *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	o, err := parse(flags, args)
	if err != nil {
		return err
	}
	o.config.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	handler, err := drc.NewServer(o.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = server.Close() }()
	wg.Go(func() { cancel(server.Serve(listener)) })
	wg.Go(func() {
		if err := feed(ctx, handler, o); err != nil {
			cancel(err)
		}
	})
	if _, err := fmt.Fprintf(stdout, "http://%s/topics\n", listener.Addr()); err != nil {
		return err
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// feed appends generated changes, or those of the files.
func feed(ctx context.Context, s *drc.Server, o options) error {
	if len(o.files) == 0 {
		return o.generator.Run(ctx, s)
	}
	errs := make([]error, len(o.config.Topics))
	var wg sync.WaitGroup
	for i, topic := range o.config.Topics {
		wg.Go(func() { errs[i] = replay(ctx, s, topic, o.files[topic], o.generator.Rate) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func replay(ctx context.Context, s *drc.Server, topic, name string, rate int) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	return drc.Replay(ctx, s, topic, file, rate)
}
