package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/keystrand/keystrand/examples/internal/show"
	"github.com/keystrand/keystrand/sink"
)

// The times of a phase, from the start of its load.
const (
	goesViral = 2 * time.Second  // the viral post has no comments before
	measured  = 9 * time.Second  // the comments that are due in this time after it are measured
	evaluated = 12 * time.Second // those that are not handled at this time count as unhandled; the process that spills is killed
	viralEnds = 22 * time.Second // of the process that spills; in the other phases the load ends when it is evaluated

	callTimeout = 10 * time.Second // of what the broker is asked
)

// A broker stores the comments.
type broker interface {
	Start(ctx context.Context, out *show.Output) error
	Create(ctx context.Context, topic string) error
	Writer(topic string) (sink.Writer, error)
	// Committed returns which comments the group has committed. The group has no running member.
	Committed(ctx context.Context, topic, group string) (func(show.Comment) bool, error)
	// Flags returns the flags with which a process reaches this broker.
	Flags() []string
	Close() error
}

// A reader is a way to handle comments.
type reader string

const (
	oneByOne  reader = "one"
	inBatches reader = "batch"
)

// demo runs all phases.
type demo struct {
	broker broker
	out    *show.Output
	start  show.Starter
	rates  rates
	folder string // of the store
}

// all runs the demo from the start of the broker to its result.
func (d *demo) all() (r result, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if d.folder, err = os.MkdirTemp("", "hotpost-"); err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, d.broker.Close(), os.RemoveAll(d.folder)) }()
	if err := d.broker.Start(ctx, d.out); err != nil {
		return result{}, err
	}
	began := time.Now()
	d.out.Line("%d posts get %d comments a second. Handling one takes %v, with %d workers.", posts, d.rates.others, handlerTime, workers)
	d.out.Line("One post goes viral: it gets %d comments a second. In order, its handler can take %d.", d.rates.viral, time.Second/handlerTime)
	for _, step := range []struct {
		title string
		run   func(context.Context, *result) error
	}{
		{"Without the viral post", d.quiet},
		{"With the viral post, without a store: its partition waits", d.pauses},
		{"With Divert: what does not fit into its lane goes to a log in a file", d.spills},
		{"With HandleBatch: one call handles up to 64 comments of a post", d.batches},
	} {
		d.out.Line("\n%s:", step.title)
		if err := step.run(ctx, &r); err != nil {
			return result{}, fmt.Errorf("%s: %w", step.title, err)
		}
	}
	r.rates = d.rates
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// quiet measures the other posts alone.
func (d *demo) quiet(ctx context.Context, r *result) error {
	p, err := d.begin(ctx, "quiet", oneByOne, "", plan(d.rates, -1, evaluated))
	if err != nil {
		return err
	}
	r.Quiet = p.figures()
	return d.finish(ctx, p, r)
}

// pauses measures them beside the viral post, without a store. It leaves the comments that wait in the topic.
func (d *demo) pauses(ctx context.Context, r *result) error {
	p, err := d.begin(ctx, "pause", oneByOne, "", plan(d.rates, goesViral, evaluated))
	if err != nil {
		return err
	}
	r.Pause, r.pauseCurve = p.figures(), p.samples
	if err := errors.Join(<-p.written, p.process.Stop()); err != nil {
		return err
	}
	counts := p.check.Result()
	counts.Lost = 0 // nobody has waited for the rest
	r.add(counts)
	return nil
}

// batches measures them beside the viral post, with a handler of batches and a store that it does not need.
func (d *demo) batches(ctx context.Context, r *result) error {
	p, err := d.begin(ctx, "batch", inBatches, "batch.db", plan(d.rates, goesViral, evaluated))
	if err != nil {
		return err
	}
	r.Batch = p.figures()
	return d.finish(ctx, p, r)
}

// spills measures them beside the viral post, with a store. Then it kills the process and starts another. When the load
// has ended, it replaces that one by one that handles batches, and so drains the store.
func (d *demo) spills(ctx context.Context, r *result) error {
	p, err := d.begin(ctx, "spill", oneByOne, "spill.db", plan(d.rates, goesViral, viralEnds))
	if err != nil {
		return err
	}
	r.Spill = p.figures()
	r.kill = p.now()
	if err := d.kill(ctx, p); err != nil {
		return err
	}
	if err := p.run(d, oneByOne); err != nil {
		return err
	}
	r.freed = p.now()
	if err := errors.Join(p.until(d.out, viralEnds), p.process.Stop()); err != nil {
		return err
	}
	d.out.Line("The load has ended, with %d comments in the log. The next release of the service handles batches.", p.lastDepth().Log)
	r.release = p.now()
	if err := p.run(d, inBatches); err != nil {
		return err
	}
	if err := d.finish(ctx, p, r); err != nil {
		return err
	}
	r.spillCurve, r.Spilled = p.samples, p.totalSpilled()
	return nil
}

// kill kills the process, and records which of the comments that it has begun may be handled again.
func (d *demo) kill(ctx context.Context, p *phase) error {
	at := time.Now()
	p.process.Kill()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	settled, err := d.broker.Committed(ctx, p.topic, p.topic)
	if err != nil {
		return err
	}
	s, err := readStore(ctx, p.store, p.topic)
	if err != nil {
		return err
	}
	p.check.Crashed(at, func(c show.Comment) bool { return !s.repeats(c, settled) })
	p.crashed(int64(len(s.waiting)))
	d.out.Line("The process is killed (kill -9), with %d comments in the log. %d comments may be handled again.", len(s.waiting), p.check.Result().Bound)
	d.out.Line("Another process starts. It gets the partitions when the session of the killed one times out, after %v.", sessionTimeout)
	return nil
}

// begin starts a process and the load, and waits until the phase is evaluated.
func (d *demo) begin(ctx context.Context, name string, r reader, store string, comments []comment) (*phase, error) {
	p := &phase{
		topic: fmt.Sprintf("hotpost-%s-%d", name, time.Now().UnixNano()),
		check: show.NewCheck(len(comments)),
		times: newLatencies(comments),
	}
	if store != "" {
		p.store = filepath.Join(d.folder, store)
	}
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := d.broker.Create(limited, p.topic); err != nil {
		return nil, err
	}
	if err := p.run(d, r); err != nil {
		return nil, err
	}
	if err := p.load(ctx, d, comments); err != nil {
		return nil, errors.Join(err, p.process.Stop())
	}
	return p, p.until(d.out, evaluated)
}

// finish waits until all comments are handled, stops the process and adds what was seen to r.
func (d *demo) finish(ctx context.Context, p *phase, r *result) error {
	if err := errors.Join(<-p.written, p.all(d.out), p.process.Stop()); err != nil {
		return err
	}
	s, err := readStore(ctx, p.store, p.topic)
	if err != nil {
		return err
	}
	r.SpillLeft += len(s.waiting)
	r.add(s.found(p.check))
	return nil
}
