package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keystrand/keystrand/examples/internal/show"
)

const (
	samples      = 500 * time.Millisecond // between two samples, and between two reports of the depth
	quietTimeout = 15 * time.Second       // without progress
)

// errQuiet means that a process runs and makes no progress.
var errQuiet = errors.New("no progress for " + quietTimeout.String())

// A sample is what was seen at one moment of a phase.
type sample struct {
	at   time.Duration // since the start of the load
	p99  time.Duration // of the other posts
	lane int           // comments of the viral post in memory
	log  int64         // in the store
}

// phase is one topic with its load, and the processes that read it one after the other.
type phase struct {
	topic   string
	store   string // its file; empty: none
	check   *show.Check
	times   *latencies
	samples []sample
	process show.Process
	written chan error // gets the result of write

	mu      sync.Mutex
	start   time.Time // of the load; zero before
	handled int       // comments, repeats included
	depth   depth     // reported last by the running process
	spilled int64     // by the processes before it
}

// run starts a process that reads the topic, and waits until it owns all partitions.
func (p *phase) run(d *demo, r reader) (err error) {
	p.mu.Lock()
	p.spilled += p.depth.Spilled
	p.depth = depth{Log: p.depth.Log}
	p.mu.Unlock()
	p.check.Starts()
	flags := append(d.broker.Flags(), "-member", p.topic+"/"+string(r), "-store", p.store)
	if p.process, err = d.start(flags, p.heard); err != nil {
		return err
	}
	return p.await(d.out, func() bool { return p.lastDepth().ready() })
}

// load starts to write comments.
func (p *phase) load(ctx context.Context, d *demo, comments []comment) error {
	w, err := d.broker.Writer(p.topic)
	if err != nil {
		return err
	}
	start := time.Now()
	p.mu.Lock()
	p.start = start
	p.mu.Unlock()
	p.written = make(chan error, 1)
	go func() { p.written <- errors.Join(write(ctx, w, comments, start), w.Close()) }()
	return nil
}

// heard records one report of the running process.
func (p *phase) heard(line string) {
	if d, ok := parseDepth(line); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !d.ready() {
			d.Log = p.depth.Log // the process cannot tell what is in the log before it owns the partition
		}
		p.depth = d
		return
	}
	if c, handled := p.check.Heard(line); handled {
		p.times.handles(c.Post, c.N, p.now())
		p.mu.Lock()
		defer p.mu.Unlock()
		p.handled++
	}
}

// now returns the time since the start of the load.
func (p *phase) now() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.start)
}

func (p *phase) lastDepth() depth {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.depth
}

// until waits until a time of the load.
func (p *phase) until(out *show.Output, at time.Duration) error {
	return p.await(out, func() bool { return p.now() >= at })
}

// all waits until all comments are handled and the log is empty. If there is no progress, it gives up without an error.
func (p *phase) all(out *show.Output) error {
	err := p.await(out, func() bool { return p.check.Result().Lost == 0 && p.lastDepth().Log == 0 })
	if errors.Is(err, errQuiet) {
		out.Line("%v; comments that are neither handled nor in the log count as lost.", err)
		return nil
	}
	return cmp.Or(err, p.until(out, p.now()+samples)) // one more sample shows the end
}

// await waits until enough is true, and samples meanwhile. It returns an error if the process ends before that, and errQuiet
// if it makes no progress.
func (p *phase) await(out *show.Output, enough func() bool) error {
	tick := time.NewTicker(samples / 5)
	defer tick.Stop()
	progress, last := -1, time.Now()
	for {
		n := p.sample(out)
		if enough() {
			return nil
		}
		if n != progress {
			progress, last = n, time.Now()
		}
		if time.Since(last) >= quietTimeout {
			return errQuiet
		}
		select {
		case <-tick.C:
		case <-p.process.Ended():
			return fmt.Errorf("the reading process ended too early: %w", cmp.Or(p.process.Stop(), errors.New("exit status 0")))
		}
	}
}

// sample samples if it is time to, and shows the sample. It returns how many comments were handled so far.
func (p *phase) sample(out *show.Output) (handled int) {
	p.mu.Lock()
	d, handled, loads := p.depth, p.handled, !p.start.IsZero()
	p.mu.Unlock()
	at := p.now()
	next := samples
	if n := len(p.samples); n > 0 {
		next += p.samples[n-1].at
	}
	if !loads || at < next {
		return handled
	}
	s := sample{at, p.times.recent(at), d.Lane, d.Log}
	p.samples = append(p.samples, s)
	late := "   none wait"
	if s.p99 > 0 {
		late = fmt.Sprintf("p99 %5d ms", s.p99.Milliseconds())
	}
	out.Progress("%4.1f s   other posts: %s   viral post: %5d handled, %4d in its lane, %6d in its log",
		at.Seconds(), late, p.times.viralHandled(), s.lane, s.log)
	return handled
}

// totalSpilled returns how many comments the processes have appended to the store.
func (p *phase) totalSpilled() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spilled + p.depth.Spilled
}

// crashed records how many comments the killed process has left in the log.
func (p *phase) crashed(log int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.depth.Lane, p.depth.Log = 0, log
}

// figures returns what was measured so far.
func (p *phase) figures() figures {
	late, unhandled := p.times.between(goesViral, goesViral+measured, evaluated)
	d := p.lastDepth()
	return figures{
		P99: float64(late.Microseconds()) / 1000, Unhandled: unhandled,
		Viral: p.times.viralHandled(), Lane: d.Lane, Log: d.Log,
	}
}
