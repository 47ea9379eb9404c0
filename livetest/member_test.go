//go:build unix

package livetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
)

// memberVariable makes the test binary a member.
const memberVariable = "KEYSTRAND_LIVE_MEMBER"

func TestMain(m *testing.M) {
	text := os.Getenv(memberVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	must(0, runMember(text))
}

const workers, writers = 48, 4 // of each member, unless its behaviour has more workers

// behaviour is how members handle messages. The seed and the offset decide what happens to a message.
type behaviour struct {
	Seed        uint64
	Handling    time.Duration // on average; default: 3 ms
	Long        time.Duration // one message in LongOne takes so long
	LongOne     int
	FailOne     int           // one message in FailOne fails, one to three times in a row
	Stuck       string        // the handler of this key hangs until its ctx ends; with a store, it fails for good
	Drain       time.Duration // default: 10 s
	Deaf        time.Duration // so late pipelines hear that a partition is lost
	DeadLetter  bool          // instead of retries
	HopelessOne int           // one message in HopelessOne fails for good
	Batches     bool          // handlers take all waiting messages of a key
	Uneven      bool          // handling takes between nothing and twice the average, instead of half to three halves
	Workers     int           // default: workers
}

// dice returns a random number that belongs to a message.
func (b behaviour) dice(partition int32, offset int64) uint64 {
	return rand.NewPCG(b.Seed, uint64(partition)<<48^uint64(offset)).Uint64()
}

func (b behaviour) hopeless(dice uint64) bool { return oneIn(b.HopelessOne, dice>>24) }

func oneIn(n int, dice uint64) bool { return n > 0 && dice%uint64(n) == 0 }

// spec is all that a member must know.
type spec struct {
	Name, History string
	Input, Output access // without a stream for Output, handlers emit nothing
	Depot         depot  // of diverted keys; members for whom no key is stuck resume held ones
	behaviour
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// runMember is a whole member process. It runs until SIGTERM.
func runMember(text string) error {
	var s spec
	must(0, json.Unmarshal([]byte(text), &s))
	record := must(newRecorder(s.History, s.Name))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h := &handler{s, record}
	limits := pipeline.Limits{Workers: cmp.Or(s.Workers, workers), InFlight: 20_000, Writers: writers}
	if s.Depot.Service != "" { // keys are soon too deep
		limits.InFlight, limits.FetchMessages = 1_000, 32
	}
	b := pipeline.From(recorded(must(s.Input.source(log)), record, s.Deaf)).Limits(limits).
		Timing(pipeline.Timing{CommitInterval: 250 * time.Millisecond, DrainTimeout: s.Drain}).Logger(log)
	var out sink.Sink = memory.New()
	if s.Output.Stream != "" {
		out = must(s.Output.sink())
	}
	defer func() { _ = out.Close() }()
	switch {
	case s.Output.Stream != "" && !s.DeadLetter:
		b.Transform(h).To(recordedSink{out, Written, record})
	case s.Batches:
		b.HandleBatch(h)
	default:
		b.Handle(h)
	}
	if s.Depot.Service != "" {
		store := must(s.Depot.open())
		defer func() { _ = store.Close() }()
		b.Divert(recordedStore{store, record}).OnFailure(pipeline.Hold)
	}
	if s.DeadLetter {
		b.OnFailure(pipeline.DeadLetter(recordedSink{out, Lettered, record}))
	} else {
		b.Use(middleware.Retry(middleware.RetryPolicy{Initial: 5 * time.Millisecond, MaxDelay: 40 * time.Millisecond}))
	}
	p := must(b.Build())
	record.write(Event{Kind: Begun})
	watching, unwatch := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { watchConservation(watching, p, record) })
	if s.Depot.Service != "" && s.Stuck == "" {
		watch.Go(func() { operate(watching, p, log) })
	}
	err := p.Run(ctx)
	unwatch()
	watch.Wait()
	e := Event{Kind: Ended}
	if err != nil {
		e.Text = err.Error()
	}
	record.write(e)
	return errors.Join(err, record.Close())
}

// watchConservation checks the snapshots of a pipeline until ctx ends.
func watchConservation(ctx context.Context, p *pipeline.Pipeline, record *recorder) {
	for ctx.Err() == nil {
		for _, s := range p.Snapshot().Partitions {
			d := s.Diverting
			if s.Settled+s.Running+s.Ready+s.Parked+s.Sinking+s.Dropped != s.Accepted || d.Restored+d.Appended != d.Drained+d.Discarded+d.Records {
				record.write(Event{Kind: Broken, Text: fmt.Sprintf("counters do not add up: %+v", s)})
			}
		}
		time.Sleep(100 * time.Millisecond) // real time: the pipeline works
	}
}

// handler takes its time, fails or hangs, and tells the history.
type handler struct {
	spec
	record *recorder
}

var errOnPurpose = errors.New("failed on purpose")

func (h *handler) Handle(ctx context.Context, m *keystrand.Message) error {
	return h.handle(ctx, m, "")
}

func (h *handler) HandleBatch(ctx context.Context, ms []*keystrand.Message) error {
	text := ""
	for i, m := range ms {
		if err := h.handle(ctx, m, text); err != nil {
			return &keystrand.BatchError{Settled: i, Err: err}
		}
		text = Behind
	}
	return nil
}

// Transform emits the message before it handles it: if that fails, the output must not be written.
func (h *handler) Transform(ctx context.Context, m *keystrand.Message, emit func(keystrand.Message)) error {
	emit(*m)
	return h.handle(ctx, m, "")
}

func (h *handler) handle(ctx context.Context, m *keystrand.Message, text string) error {
	e := eventOf(Started, m)
	e.Text = text
	h.record.write(e)
	err := h.work(ctx, m)
	switch e.Kind = Finished; {
	case err == nil:
		e.Text = Settled
	case ctx.Err() != nil:
		e.Text = Cancelled
	default:
		e.Text = Failed
	}
	h.record.write(e)
	return err
}

func eventOf(k Kind, m *keystrand.Message) Event {
	of := Message{Place{m.Stream, m.Partition}, m.Offset, string(m.Key), numberOf(m)}
	switch m.Native.(type) { // another source may have a Native beside the value
	case *binlog.Row, *binlog.DDL:
		of.Key, of.Number = nameOfChange(m), 0
	}
	return Event{Kind: k, Epoch: m.Epoch, Message: of}
}

// numberOf returns the number of a message that a test has produced, -1 for another one.
func numberOf(m *keystrand.Message) int64 {
	n, err := strconv.ParseInt(strings.TrimRight(string(m.Value), " "), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (h *handler) work(ctx context.Context, m *keystrand.Message) error {
	dice := h.dice(m.Partition, m.Offset)
	d := h.Handling/2 + time.Duration(dice%uint64(h.Handling))
	if h.Uneven {
		d = time.Duration(dice % uint64(2*h.Handling))
	}
	if oneIn(h.LongOne, dice>>8) {
		d = h.Long
	}
	stuck := h.Stuck != "" && string(m.Key) == h.Stuck
	if stuck && h.Depot.Service == "" {
		d = time.Hour
	}
	select {
	case <-time.After(d): // real time: of a live service
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if stuck || h.hopeless(dice) {
		return keystrand.Permanent(errOnPurpose)
	}
	if oneIn(h.FailOne, dice>>16) && m.Attempt <= 1+int32(dice>>32%3) {
		return errOnPurpose
	}
	return nil
}

// recordedSource writes to the history what passes between a source and its pipeline.
type recordedSource struct {
	source.Source
	record *recorder
	deaf   time.Duration
}

// recorded returns a source with the optional methods of Kafka's, of Pulsar's, or of a binlog's.
func recorded(s source.Source, record *recorder, deaf time.Duration) source.Source {
	r := recordedSource{s, record, deaf}
	mover, _ := s.(source.Mover)
	switch s := s.(type) {
	case interface {
		source.Keyer
		source.Prefetcher
	}:
		return struct {
			recordedSource
			source.Keyer
			source.Prefetcher
		}{r, s, s}
	case source.Prefetcher:
		return struct {
			recordedSource
			source.Mover
			source.Prefetcher
		}{r, mover, s}
	case source.Stopper:
		return struct {
			recordedSource
			source.Mover
			source.Stopper
		}{r, mover, s}
	}
	panic(fmt.Sprintf("livetest: a %T is none of the known sources", s))
}

func (s recordedSource) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	r := recordedPartition{p, s.record, s.deaf, make(chan source.Leave, 2), make(chan struct{}), make(chan struct{})}
	r.write(Event{Kind: Accepted, Progress: *p.Restored()})
	go r.tell()
	if l, ok := p.(source.Lagger); ok {
		return struct {
			recordedPartition
			source.Lagger
		}{r, l}, nil
	}
	return r, nil
}

type recordedPartition struct {
	source.Partition
	record  *recorder
	deaf    time.Duration
	leaving chan source.Leave
	over    chan struct{} // closed by Release
	told    chan struct{} // closed when tell has returned
}

func (p recordedPartition) write(e Event) {
	e.Place, e.Epoch = Place{p.ID().Stream, p.ID().Partition}, p.ID().Epoch
	p.record.write(e)
}

// tell passes on a leave after its event.
func (p recordedPartition) tell() {
	defer close(p.told)
	for {
		select {
		case l := <-p.Partition.Leaving():
			if l.Lost {
				p.write(Event{Kind: Lost})
				time.Sleep(p.deaf) // real time: the pipeline works
			}
			p.leaving <- l
		case <-p.over:
			return
		}
	}
}

func (p recordedPartition) Leaving() <-chan source.Leave { return p.leaving }

func (p recordedPartition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	p.write(Event{Kind: Trying, Progress: *progress})
	stored, err := p.Partition.Commit(ctx, progress)
	switch {
	case err == nil:
		p.write(Event{Kind: Stored, Count: int(stored.Replays)})
	case errors.Is(err, commit.ErrFenced):
		p.write(Event{Kind: Lost, Text: err.Error()})
		time.Sleep(p.deaf) // real time: the pipeline works
	}
	return stored, err
}

func (p recordedPartition) Release(ctx context.Context) error {
	close(p.over)
	<-p.told
	p.write(Event{Kind: Released})
	return p.Partition.Release(ctx)
}

// recordedSink writes to the history which outputs or dead letters are durable, before the pipeline knows.
type recordedSink struct {
	sink.Sink
	kind   Kind
	record *recorder
}

func (s recordedSink) Open() (sink.Writer, error) {
	w, err := s.Sink.Open()
	return recordedWriter{w, s}, err
}

type recordedWriter struct {
	sink.Writer
	recordedSink
}

func (w recordedWriter) Write(ctx context.Context, ms []keystrand.Message) error {
	err := w.Writer.Write(ctx, ms)
	partial, _ := errors.AsType[*sink.PartialError](err)
	for i := range ms {
		if err == nil || partial != nil && i < len(partial.Errs) && partial.Errs[i] == nil {
			e := eventOf(w.kind, &ms[i])
			e.Count = len(ms)
			if stream, isLetter := ms[i].Header(pipeline.HeaderStream); isLetter {
				e.Stream = string(stream)
			}
			w.record.write(e)
		}
	}
	return err
}
