package show

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	baselineTime = 4 * time.Second
	callTimeout  = time.Minute // of what the broker is asked
	quietTimeout = time.Minute // without a report
)

// errQuiet means that a process runs and handles no messages.
var errQuiet = errors.New("no message was handled for " + quietTimeout.String())

// run is one run of a demo.
type run struct {
	messages int
	broker   Broker
	out      *Output
	start    Starter
	topic    string
}

// all runs the demo from the start of the broker to its result.
func (r *run) all() (t table, err error) {
	ctx := context.Background()
	defer func() {
		r.out.flush()
		err = errors.Join(err, r.broker.Close())
	}()
	if err := r.broker.Start(ctx, r.out); err != nil {
		return table{}, err
	}
	r.topic = fmt.Sprintf("quickstart-%d", time.Now().UnixNano())
	if err := r.fill(ctx); err != nil {
		return table{}, err
	}
	baseline, err := r.baseline()
	if err != nil {
		return table{}, fmt.Errorf("baseline: %w", err)
	}
	t, err = r.keystrand(ctx)
	if err != nil {
		return table{}, fmt.Errorf("keystrand: %w", err)
	}
	t.Baseline = baseline
	if baseline > 0 {
		t.Speedup = t.Keystrand / baseline
	}
	return t, nil
}

func (r *run) fill(ctx context.Context) error {
	r.out.Line("Writing %d comments on %d posts to topic %s with %d partitions.", r.messages, posts, r.topic, Partitions)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	busiest, err := r.broker.Fill(ctx, r.topic, r.messages)
	if err != nil {
		return err
	}
	r.out.Line("The busiest post has %d comments. Handling a comment takes 50 ms.", busiest)
	return nil
}

// baseline reads for a while with one ordered consumer for each partition. It returns messages a second.
func (r *run) baseline() (float64, error) {
	r.out.Line("\nOne consumer for each partition, for %v:", baselineTime)
	c := NewCheck(r.messages)
	p, err := r.member(perPartition, c)
	if err != nil {
		return 0, err
	}
	err = r.await(p, c, func(s state) bool { return s.age >= baselineTime })
	if err := cmp.Or(err, p.Stop()); err != nil {
		return 0, err
	}
	return c.rate(), nil
}

// keystrand reads the whole topic, and kills the reading process halfway.
func (r *run) keystrand(ctx context.Context) (table, error) {
	r.out.Line("\nkeystrand, %d workers, in order for each post:", workers)
	c := NewCheck(r.messages)
	p, err := r.member(perKey, c)
	if err != nil {
		return table{}, err
	}
	if err := r.await(p, c, func(s state) bool { return s.handled >= r.messages/2 }); err != nil {
		return table{}, cmp.Or(err, p.Stop())
	}
	at := time.Now()
	p.Kill()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	committed, err := r.broker.Committed(ctx, r.topic, r.group(perKey))
	if err != nil {
		return table{}, err
	}
	c.Crashed(at, committed)
	t := c.Result()
	r.out.Line("The reading process is killed (kill -9). Of the messages that it began, %d are committed and %d may be handled again.", t.Committed, t.Bound)
	r.out.Line("Another process starts. It gets the partitions %s.", r.broker.Freed())
	if p, err = r.member(perKey, c); err != nil {
		return table{}, err
	}
	err = r.await(p, c, func(s state) bool { return s.handled >= r.messages })
	if errors.Is(err, errQuiet) {
		r.out.Line("%v; counting the rest as lost.", err)
		err = nil
	}
	if err := cmp.Or(err, p.Stop()); err != nil {
		return table{}, err
	}
	return table{Keystrand: c.rate(), Counts: c.Result()}, nil
}

func (r *run) group(reader string) string { return r.topic + "-" + reader }

func (r *run) member(reader string, c *Check) (Process, error) {
	c.Starts()
	return r.start(append(r.broker.Flags(), "-member", r.topic+"/"+r.group(reader)+"/"+reader), func(line string) { c.Heard(line) })
}

// await shows progress until enough is true. It returns an error if p ends before that, or reports nothing for too long.
func (r *run) await(p Process, c *Check, enough func(state) bool) error {
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s := c.state()
		r.out.Progress("%6d of %d handled", s.handled, r.messages)
		last := began
		if s.reported.After(began) {
			last = s.reported
		}
		switch {
		case enough(s):
			return nil
		case time.Since(last) >= quietTimeout:
			return errQuiet
		}
		select {
		case <-tick.C:
		case <-p.Ended():
			return fmt.Errorf("the reading process ended too early: %w", cmp.Or(p.Stop(), errors.New("exit status 0")))
		}
	}
}
