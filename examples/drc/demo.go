package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/source/binlog/drc"
)

const (
	rowsPerS   = 750 // rows of each topic a second
	tablesEach = 6   // of each topic

	killed       = 6 * time.Second  // since the load began
	quietTimeout = 15 * time.Second // without a report about a change
	callTimeout  = 20 * time.Second // of what the service and the store are asked at the end
)

// demo runs the service and the processes that read it.
type demo struct {
	generator drc.Generator
	slow      string // stream of the slow table; empty: none
	out       *show.Output
	start     show.Starter

	service string // URL
	store   string // file

	mu        sync.Mutex
	process   int
	events    []event
	handled   map[change]bool
	standings map[string]standing
	last      time.Time // of the last event
}

// all runs the demo from the start of the service to its result.
func (d *demo) all() (r result, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	folder, err := os.MkdirTemp("", "drc-")
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	d.store = filepath.Join(folder, "progress")
	server, stop, err := d.serve(ctx)
	if err != nil {
		return result{}, err
	}
	defer stop()
	fed := make(chan error, 1)
	at, err := d.read(ctx, &r, server, fed)
	if err != nil {
		return result{}, err
	}
	ctx, cancel = context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := d.evaluate(ctx, &r, at); err != nil {
		return result{}, err
	}
	d.out.Line("\nOne client for each table, one change after the other, for %v.", clientsTime)
	r.Clients, err = oneClientATable(ctx, d.service, tables(d.generator))
	return r, err
}

// serve starts the service.
func (d *demo) serve(ctx context.Context) (*drc.Server, func(), error) {
	s, err := drc.NewServer(drc.ServerConfig{Topics: d.generator.TopicNames(), Retain: 10 * d.generator.Rows})
	if err != nil {
		return nil, nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	h := &http.Server{Handler: s, ReadHeaderTimeout: callTimeout}
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Serve(l) })
	d.service = "http://" + l.Addr().String()
	return s, func() { _ = h.Close(); wg.Wait() }, nil
}

// read reads all topics while rows are changed, with a process that is killed and another one. It returns when the first was killed.
func (d *demo) read(ctx context.Context, r *result, server *drc.Server, fed chan error) (at time.Time, err error) {
	d.out.Line("4 topics of %d tables get %d changes a second. One pipeline applies them, in order for each row, %v each, with %d workers.",
		tablesEach, len(d.generator.TopicNames())*rowsPerS, handlerTime, workers)
	if d.slow != "" {
		d.out.Line("%s takes %d changes a second, and gets about %d.", d.slow, slowRate, rowsPerS/tablesEach)
	}
	p, err := d.member(d.slow)
	if err != nil {
		return at, err
	}
	began := time.Now()
	go func() { fed <- d.generator.Run(ctx, server) }()
	if err := d.await(p, func() bool { return time.Since(began) >= killed }); err != nil {
		return at, errors.Join(err, p.Stop())
	}
	at = time.Now()
	p.Kill()
	if r.Progress, err = d.progress(ctx); err != nil {
		return at, err
	}
	d.out.Line("\nThe process is killed (kill -9), and another one starts. %s", d.freed())
	if p, err = d.member(""); err != nil {
		return at, err
	}
	if err := d.drain(ctx, p, fed); err != nil {
		return at, errors.Join(err, p.Stop())
	}
	return at, p.Stop()
}

func (d *demo) freed() string {
	if d.slow == "" {
		return ""
	}
	return d.slow + " is fast again."
}

// drain waits until all changes are handled. If nothing happens, it gives up without an error.
func (d *demo) drain(ctx context.Context, p show.Process, fed <-chan error) error {
	var over bool
	var err error
	total := -1
	failed := d.await(p, func() bool {
		select {
		case err = <-fed:
			over = true
		default:
		}
		if over && err == nil && total < 0 {
			total, err = countRecords(ctx, d.service)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		return err != nil || len(d.handled) == total
	})
	if errors.Is(failed, errQuiet) {
		d.out.Line("%v; counting the rest as lost.", failed)
		failed = nil
	}
	return cmp.Or(err, failed)
}

// member starts a process.
func (d *demo) member(slow string) (show.Process, error) {
	d.mu.Lock()
	if d.handled == nil {
		d.handled, d.standings = make(map[change]bool), make(map[string]standing)
	} else {
		d.process++
	}
	d.last = time.Now()
	d.mu.Unlock()
	return d.start([]string{"-member", d.service, "-store", d.store, "-slow", slow}, d.heard)
}

// heard records one report of the running process.
func (d *demo) heard(line string) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := parseStanding(line); ok {
		d.standings[s.stream] = s
		return
	}
	e, ok := parseEvent(line)
	if !ok {
		return // other text on standard output
	}
	e.process, e.at, d.last = d.process, now, now
	d.events = append(d.events, e)
	if !e.begins {
		d.handled[e.change] = true
	}
}

// errQuiet means that a process runs and handles nothing.
var errQuiet = errors.New("nothing was handled for " + quietTimeout.String())

// await shows the tables until enough is true. It returns an error if p ends before that, or reports nothing for too long.
func (d *demo) await(p show.Process, enough func() bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if enough() {
			return nil
		}
		d.mu.Lock()
		quiet := time.Since(d.last)
		var lines []string
		for _, s := range d.standings {
			lines = append(lines, fmt.Sprintf("%-22s position %7d   lag %6d", s.stream, s.position, s.lag))
		}
		d.mu.Unlock()
		slices.Sort(lines)
		d.out.Block(lines)
		if quiet >= quietTimeout {
			return errQuiet
		}
		select {
		case <-tick.C:
		case <-p.Ended():
			return fmt.Errorf("the reading process ended too early: %w", cmp.Or(p.Stop(), errors.New("exit status 0")))
		}
	}
}

// progress returns what the store has of each table. No process runs.
func (d *demo) progress(ctx context.Context) (map[string]*commit.Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	db, store, err := openStore(ctx, d.store)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // it was only read
	all := make(map[string]*commit.Progress)
	for _, stream := range tables(d.generator) {
		if all[stream], err = store.Claim(ctx, stream, 0, 0); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// evaluate compares the reports with the topics. The first process was killed at that time.
func (d *demo) evaluate(ctx context.Context, r *result, at time.Time) error {
	var log []logged
	for _, topic := range d.generator.TopicNames() {
		of, err := readLog(ctx, d.service, topic)
		if err != nil {
			return err
		}
		log = append(log, of...)
	}
	end, err := d.progress(ctx)
	if err != nil {
		return err
	}
	j := newJudge(log)
	r.Counts = j.judge(d.events, func(e event) bool { return r.Progress[e.stream].Settled(e.offset) })
	r.fill(d, log, j, at)
	for i := range r.Lines {
		l := &r.Lines[i]
		l.Killed, l.End = r.Progress[l.Table].Frontier, end[l.Table].Frontier
	}
	return nil
}
