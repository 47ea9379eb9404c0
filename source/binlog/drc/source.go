package drc

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// New returns a source that reads topics of a service, whose address is a URL as http://localhost:7070. Each table is a partition:
// its stream is "topic/database.table", its number 0. It makes no connection before the first Accept. store keeps the progress of
// each table, by its stream and partition, and a list of the tables of each topic as a stream of its own. New returns all errors of
// the configuration at once.
//
// The source is also a [source.Keyer], [source.Prefetcher], [source.Reporter] and [source.Describer]. Messages whose rows share the value of a primary
// or unique key stay in order.
//
// A process is the only active subscriber of its topics. Further ones wait for their turn before they claim anything in the store.
// A process that was frozen or cut off for longer than the timeout loses its turn: if another one has claimed its tables, it ends
// with an error that wraps commit.ErrFenced. Start it again, and it waits.
//
// Accept's errors are final. Those of the service are an [*Error]: the topic is unknown, or the place where a restart has to begin
// is gone, ahead of the log, or of another log.
func New(url string, topics []string, store commit.Store, cfg Config) (source.Source, error) {
	cfg = cfg.withDefaults()
	u, err := checkNames(url, topics)
	err = errors.Join(err, cfg.validate())
	if store == nil {
		err = errors.Join(err, errors.New("drc: store is nil: the service keeps no progress, so a store has to"))
	}
	if err != nil {
		return nil, err
	}
	s := &joined{host: u.Host, accepted: make(chan accepted), stop: func() {}}
	subscriber := "keystrand-" + rand.Text()[:8]
	for _, topic := range topics {
		c := cfg
		c.Logger = cfg.Logger.With(slog.String("topic", topic))
		l := newLog(u, topic, subscriber, c)
		d, err := demux.New(l, demux.Config{
			Package:           "drc",
			Name:              topic,
			Store:             store,
			TableBytes:        c.TableBytes,
			QueueBytes:        c.QueueBytes,
			CatchUp:           c.CatchUp,
			HandOutUnreadable: c.HandOutUnreadable,
			Logger:            c.Logger,
		})
		if err != nil {
			return nil, err
		}
		s.topics = append(s.topics, &joinedTopic{Source: d, log: l})
	}
	return s, nil
}

// joined is the sources of several topics as one. It implements [source.Source], [source.Prefetcher], [source.Reporter],
// [source.Keyer] and [source.Describer].
//
// Owns: a goroutine for each topic that accepts its partitions.
type joined struct {
	host     string // of the service
	topics   []*joinedTopic
	accepted chan accepted
	err      error // of a topic; used by Accept alone

	begin   sync.Once
	stop    context.CancelFunc // ends the goroutines
	running sync.WaitGroup
}

type joinedTopic struct {
	*demux.Source
	log *log
}

type accepted struct {
	partition source.Partition
	err       error
}

// Accept implements [source.Source].
func (s *joined) Accept(ctx context.Context) (source.Partition, error) {
	s.begin.Do(func() { s.start(context.WithoutCancel(ctx)) })
	if s.err != nil {
		return nil, s.err
	}
	select {
	case a := <-s.accepted:
		s.err = a.err
		return a.partition, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *joined) start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	for _, t := range s.topics {
		s.running.Go(func() { s.accept(ctx, t) })
	}
}

// accept passes on what a topic accepts.
func (s *joined) accept(ctx context.Context, t *joinedTopic) {
	for {
		p, err := t.Accept(ctx)
		if ctx.Err() != nil && p == nil {
			return
		}
		select {
		case s.accepted <- accepted{p, err}:
		case <-ctx.Done():
			if p != nil {
				_ = p.Release(context.WithoutCancel(ctx)) // it was handed to nobody
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// Key implements [source.Keyer]: see [binlog.Key].
func (s *joined) Key(m *keystrand.Message) (keystrand.Key, error) { return binlog.Key(m) }

// LimitPrefetch implements [source.Prefetcher]. Each topic gets an equal part. It may exceed it as one event for each table, and
// twice where many tables have rows.
func (s *joined) LimitPrefetch(bytes int) {
	for _, t := range s.topics {
		t.LimitPrefetch(bytes / len(s.topics))
	}
}

// Prefetched implements [source.Prefetcher].
func (s *joined) Prefetched() (bytes int64) {
	for _, t := range s.topics {
		bytes += t.Source.Prefetched()
	}
	return bytes
}

// Describe implements [source.Describer]. The service knows no groups: one subscriber of a topic is active.
func (s *joined) Describe() source.Description {
	return source.Description{System: "drc", Servers: []string{s.host}}
}

// Report implements [source.Reporter]. State is that of the topic that is the farthest from reading:
//   - "failed", "closed": Accept has returned an error, or Close was called
//   - "starting": the service is connected, or the tables are claimed in the store
//   - "waiting": another process is the active subscriber of a topic. The source is ready.
//   - "reading": all topics are read
//
// What fails in one topic of several has its name in front, as has each table that is read apart.
func (s *joined) Report() source.Report {
	order := []string{"reading", "waiting", "starting", "closed", "failed"}
	all := source.Report{State: order[0], Ready: true}
	for _, t := range s.topics {
		r := t.Source.Report()
		if r.State == "starting" && t.log.waits.Load() {
			r.State, r.Ready = "waiting", true
		}
		if slices.Index(order, r.State) > slices.Index(order, all.State) {
			all.State = r.State
		}
		all.Ready = all.Ready && r.Ready
		for _, trouble := range r.Trouble {
			if len(s.topics) > 1 {
				trouble.What = t.log.topic + ": " + trouble.What
			}
			all.Trouble = append(all.Trouble, trouble)
		}
		count := all.Losses.Count + r.Losses.Count
		if r.Losses.At.After(all.Losses.At) {
			all.Losses = r.Losses
		}
		all.Losses.Count = count
	}
	slices.SortStableFunc(all.Trouble, func(a, b source.Trouble) int { return strings.Compare(a.What, b.What) })
	return all
}

// Close implements [source.Source]. It leaves the topics, so that the next subscriber becomes active.
func (s *joined) Close() error {
	s.begin.Do(func() {}) // a later Accept must not start it
	s.stop()
	s.running.Wait()
	s.err = cmp.Or(s.err, errClosed)
	var errs []error
	for _, t := range s.topics {
		errs = append(errs, t.Source.Close())
		t.log.close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drc: close: %w", err)
	}
	return nil
}
