//go:build unix

package livetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source"
)

// memberVariable makes the test binary a member.
const memberVariable = "KEYSTRAND_LIVE_MEMBER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(memberVariable); spec != "" {
		if err := runMember(spec); err != nil {
			fmt.Fprintln(os.Stderr, "member:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// memberSpec is all that a member must know.
type memberSpec struct {
	Name      string
	History   string
	Source    string          // a key of sources
	Args      json.RawMessage // of the source
	Outputs   json.RawMessage `json:",omitempty"` // of the sink of the same name; nil: handlers emit nothing
	Behaviour behaviour
}

// sources makes the source of each service from the arguments its Cluster gave.
var sources = map[string]func(args json.RawMessage, log *slog.Logger) (source.Source, error){}

// sinks makes the sink of each service from the arguments with which a source would read the stream.
var sinks = map[string]func(args json.RawMessage) (sink.Sink, error){}

// writers is how many a member has.
const writers = 4

// behaviour is how members handle messages. What happens to a message follows from the seed and its offset.
type behaviour struct {
	Seed           uint64
	Workers        int           // default: 48
	Handling       time.Duration // half to one and a half of it. Default: 3 ms
	Long           time.Duration // one message in LongOne takes so long
	LongOne        int
	FailOne        int // one message in FailOne fails, one to three times in a row
	Stuck          string
	Drain          time.Duration // default: 10 s
	CommitInterval time.Duration // default: 250 ms
	DeadLetter     bool          // instead of retries
	Batches        bool          // handlers take what waits of a key
}

func (b behaviour) withDefaults() behaviour {
	if b.Workers == 0 {
		b.Workers = 48
	}
	if b.Handling == 0 {
		b.Handling = 3 * time.Millisecond
	}
	if b.Drain == 0 {
		b.Drain = 10 * time.Second
	}
	if b.CommitInterval == 0 {
		b.CommitInterval = 250 * time.Millisecond
	}
	return b
}

// runMember is a whole member process: it runs until SIGTERM.
func runMember(text string) error {
	var spec memberSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	record, err := NewRecorder(spec.History, spec.Name)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	makeSource := sources[spec.Source]
	if makeSource == nil {
		return fmt.Errorf("there is no source %q", spec.Source)
	}
	inner, err := makeSource(spec.Args, log)
	if err != nil {
		return err
	}
	b := spec.Behaviour.withDefaults()
	build := pipeline.From(&recordedSource{Source: inner, record: record}).
		Limits(pipeline.Limits{Workers: b.Workers, InFlight: 20_000, Writers: writers}).
		Timing(pipeline.Timing{CommitInterval: b.CommitInterval, DrainTimeout: b.Drain}).
		Logger(log)
	closeSink, err := handleWith(build, &handler{behaviour: b, record: record}, &spec)
	if err != nil {
		return err
	}
	if b.DeadLetter {
		build.OnFailure(pipeline.DeadLetter(letterBox{record}))
	} else {
		build.Use(middleware.Retry(middleware.RetryPolicy{Initial: 5 * time.Millisecond, MaxDelay: 40 * time.Millisecond}))
	}
	p, err := build.Build()
	if err != nil {
		return err
	}
	record.Write(Event{Kind: Begun, Number: int64(os.Getpid())})
	watching, unwatch := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watchConservation(watching, p, record)
	}()
	err = p.Run(ctx)
	unwatch()
	<-watched
	e := Event{Kind: Ended}
	if err != nil {
		e.Text = err.Error()
	}
	record.Write(e)
	return errors.Join(err, closeSink(), record.Close())
}

// handleWith sets the handler of the shape that is asked for.
func handleWith(build *pipeline.Builder, h *handler, spec *memberSpec) (closeSink func() error, err error) {
	closeSink = func() error { return nil }
	switch {
	case spec.Outputs != nil:
		s, err := sinks[spec.Source](spec.Outputs)
		if err != nil {
			return nil, err
		}
		build.Transform(h).To(recordedSink{s, h.record})
		closeSink = s.Close
	case h.Batches:
		build.HandleBatch(h)
	default:
		build.Handle(h)
	}
	return closeSink, nil
}

// watchConservation looks at what a pipeline says of itself, again and again.
func watchConservation(ctx context.Context, p *pipeline.Pipeline, record *Recorder) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range p.Snapshot().Partitions {
			if sum := s.Settled + s.Running + s.Ready + s.Parked + s.Sinking + s.Dropped; sum != s.Accepted {
				record.Write(Event{
					Kind: Broken, Stream: s.ID.Stream, Partition: s.ID.Partition, Epoch: s.ID.Epoch,
					Text: fmt.Sprintf("accepted %d is not settled %d + running %d + ready %d + parked %d + sinking %d + dropped %d",
						s.Accepted, s.Settled, s.Running, s.Ready, s.Parked, s.Sinking, s.Dropped),
				})
			}
		}
	}
}

// handler takes its time, fails, or hangs, and tells the history.
type handler struct {
	behaviour
	record *Recorder
}

var errOnPurpose = errors.New("failed on purpose")

func (h *handler) Handle(ctx context.Context, m *keystrand.Message) error {
	return h.handle(ctx, m, "")
}

// HandleBatch handles one after the other.
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
	e := Event{Kind: Started, Text: text, Stream: m.Stream, Partition: m.Partition, Epoch: m.Epoch, Offset: m.Offset, Key: string(m.Key), Attempt: int(m.Attempt)}
	e.Number, _ = strconv.ParseInt(strings.TrimRight(string(m.Value), " "), 10, 64)
	h.record.Write(e)
	e.Kind = Finished
	err := h.work(ctx, m)
	switch {
	case err == nil:
		e.Text = Settled
	case ctx.Err() != nil:
		e.Text = Cancelled
	default:
		e.Text = Failed
	}
	h.record.Write(e)
	return err
}

func (h *handler) work(ctx context.Context, m *keystrand.Message) error {
	dice := mix(h.Seed, uint64(m.Partition)<<48^uint64(m.Offset))
	if h.Stuck != "" && string(m.Key) == h.Stuck {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	d := h.Handling/2 + time.Duration(dice%uint64(h.Handling))
	if h.LongOne > 0 && dice>>8%uint64(h.LongOne) == 0 {
		d = h.Long
	}
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if h.FailOne > 0 && dice>>16%uint64(h.FailOne) == 0 && int(m.Attempt) <= 1+int(dice>>32%3) {
		return errOnPurpose
	}
	return nil
}

// mix is splitmix64, whose output for neighbours has nothing in common.
func mix(seed, n uint64) uint64 {
	z := seed + n*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// letterBox is a sink that tells the history of each dead letter.
type letterBox struct{ record *Recorder }

func (l letterBox) Open() (sink.Writer, error) { return l, nil }
func (l letterBox) Close() error               { return nil }

func (l letterBox) Write(_ context.Context, ms []keystrand.Message) error {
	for i := range ms {
		m := &ms[i]
		number := func(header string) int64 {
			v, _ := m.Header(header)
			n, _ := strconv.ParseInt(string(v), 10, 64)
			return n
		}
		stream, _ := m.Header(pipeline.HeaderStream)
		cause, _ := m.Header(pipeline.HeaderError)
		l.record.Write(Event{
			Kind: Lettered, Stream: string(stream), Partition: int32(number(pipeline.HeaderPartition)), Epoch: m.Epoch,
			Offset: number(pipeline.HeaderOffset), Key: string(m.Key), Text: string(cause),
		})
	}
	return nil
}
