package sourcetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/sourcetest"
)

// file is a log in memory that one source at a time can open, like a locked file.
type file struct {
	mu       sync.Mutex
	changed  chan struct{} // closed when a message is appended
	messages [][]keystrand.Message
	progress []commit.Progress // by partition, what was committed last
	open     bool
	epoch    int64
	misuses  []string // of the contract, by the suite
}

func newFile() *file {
	return &file{changed: make(chan struct{}), messages: make([][]keystrand.Message, partitions), progress: make([]commit.Progress, partitions)}
}

func (f *file) append(partition int32, msgs ...keystrand.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range msgs {
		m.Stream, m.Partition, m.Offset = "file", partition, int64(len(f.messages[partition]))
		f.messages[partition] = append(f.messages[partition], m)
	}
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

// join opens the file. A finite source ends where the file ends now.
func (f *file) join(finite bool) (source.Source, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open {
		return nil, errors.New("file: open: another source has it open, close that first")
	}
	f.open = true
	f.epoch++
	s := &fileSource{f: f, finite: finite}
	for _, messages := range f.messages {
		s.ends = append(s.ends, len(messages))
	}
	return s, nil
}

func (f *file) misuse(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.misuses = append(f.misuses, fmt.Sprintf(format, args...))
}

// fileSource reads a file. It does not defend itself against a caller that breaks the contract, but records the misuse.
type fileSource struct {
	f       *file
	finite  bool
	ends    []int        // of the partitions, if it is finite
	next    int32        // partition to be accepted
	calls   atomic.Int32 // of Accept, Stop and Close under way
	held    atomic.Int32 // partitions that are not released
	ended   bool         // Accept has returned io.EOF
	stopped bool
	closed  bool
}

// begins records a call of Accept, Stop or Close. The func that it returns records the return.
func (s *fileSource) begins(call string) (ends func()) {
	if s.calls.Add(1) > 1 || s.closed || call == "Accept" && (s.ended || s.stopped) || call == "Stop" && (s.ended || s.stopped) {
		s.f.misuse("%s of a source: beside another call, or after Close, Stop or io.EOF", call)
	}
	return func() { s.calls.Add(-1) }
}

func (s *fileSource) Describe() source.Description { return source.Description{System: "file"} }

func (s *fileSource) Stop() {
	defer s.begins("Stop")()
	s.stopped = true
}

func (s *fileSource) Accept(ctx context.Context) (source.Partition, error) {
	defer s.begins("Accept")()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case s.next < partitions:
		s.f.mu.Lock()
		defer s.f.mu.Unlock()
		restored := s.f.progress[s.next]
		restored.Epoch = s.f.epoch
		s.next++
		s.held.Add(1)
		return &filePartition{s: s, number: s.next - 1, restored: &restored, at: restored.Frontier}, nil
	case s.finite:
		s.ended = true
		return nil, io.EOF
	}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (s *fileSource) Close() error {
	defer s.begins("Close")()
	if n := s.held.Load(); n > 0 {
		s.f.misuse("Close with %d partitions that are not released", n)
	}
	s.closed = true
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.open = false
	return nil
}

// filePartition is a partition of a fileSource.
type filePartition struct {
	s        *fileSource
	number   int32
	restored *commit.Progress
	at       int64

	fetches, commits atomic.Int32 // under way
	released         atomic.Bool
	last             *commit.Progress
}

// begins records a call of Fetch, Commit or Release. The func that it returns records the return.
func (p *filePartition) begins(call string, others ...*atomic.Int32) (ends func()) {
	for _, n := range others {
		if n.Load() > 0 {
			p.s.f.misuse("%s of partition %d beside a call that is under way", call, p.number)
		}
	}
	if p.released.Load() {
		p.s.f.misuse("%s of partition %d after its Release", call, p.number)
	}
	if len(others) > 1 {
		return func() {}
	}
	others[0].Add(1)
	return func() { others[0].Add(-1) }
}

func (p *filePartition) ID() source.ID {
	return source.ID{Stream: "file", Partition: p.number, Epoch: p.restored.Epoch}
}
func (p *filePartition) Restored() *commit.Progress   { return p.restored }
func (p *filePartition) Leaving() <-chan source.Leave { return nil }

func (p *filePartition) Release(context.Context) error {
	defer p.begins("Release", &p.fetches, &p.commits)()
	p.released.Store(true)
	p.s.held.Add(-1)
	return nil
}

func (p *filePartition) Fetch(ctx context.Context, b *source.Batch) error {
	defer p.begins("Fetch", &p.fetches)()
	for {
		p.s.f.mu.Lock()
		changed, all := p.s.f.changed, p.s.f.messages[p.number]
		p.s.f.mu.Unlock()
		if p.s.finite {
			all = all[:p.s.ends[p.number]]
		}
		rest := all[p.at:]
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case len(rest) == 0 && p.s.finite:
			return io.EOF
		case len(rest) > 0:
			for size := 0; len(rest) > 0 && len(b.Messages) < b.MaxMessages; rest = rest[1:] {
				if size += rest[0].Size(); size > b.MaxBytes && len(b.Messages) > 0 {
					break
				}
				b.Messages = append(b.Messages, rest[0])
				p.at++
			}
			b.Next = p.at
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (p *filePartition) Commit(_ context.Context, progress *commit.Progress) (commit.Stored, error) {
	defer p.begins("Commit", &p.commits)()
	if last := p.last; last != nil {
		for o := range p.at {
			if last.Settled(o) && !progress.Settled(o) {
				p.s.f.misuse("Commit of partition %d goes back: %d was settled", p.number, o)
			}
		}
	}
	if progress.At != p.restored.At {
		p.s.f.misuse("Commit of partition %d has the place %q, want the restored one, %q", p.number, progress.At, p.restored.At)
	}
	p.last = progress
	p.s.f.mu.Lock()
	defer p.s.f.mu.Unlock()
	own := *progress
	own.At = fmt.Sprintf("line %d", own.Frontier)
	p.s.f.progress[p.number] = own
	return commit.Stored{Frontier: progress.Frontier}, nil
}

// unable are the cases that need abilities that a log of one member at a time lacks.
var unable = []string{
	"OffsetsAscendAndMaySkip", "PositionMovesWithoutMessages", "LagReachesZero", "PrefetchEndsWithRelease", "RecreatedLogIsNotSkipped",
	"LogRecreatedUnderItsOwner", "RevokedBeforeLost", "LeavingFetchReturnsErrLeaving", "NoAcceptBeforeRelease",
	"NoAcceptBeforeReleaseBySameMember", "EverythingComesOverHandOvers", "CrashReplaysFromCommitted", "LostCancelsAtOnce", "OldEpochIsFenced",
}

func TestSourceOfOneMemberAtATimePassesWithoutTheCasesOfTwo(t *testing.T) {
	testAlone(t, unable, func(env *sourcetest.Env, join func(finite bool) (source.Source, error)) {
		env.Join = func() (source.Source, error) { return join(false) }
	})
}

func TestSourceThatIsAlwaysFinitePassesWithoutTheCaseThatWaitsAtTheEnd(t *testing.T) {
	testAlone(t, append(slices.Clone(unable), "FetchReturnsWhenCtxEnds"), func(*sourcetest.Env, func(bool) (source.Source, error)) {})
}

// testAlone runs the suite on files. The source records calls that break the contract: the suite must not make any.
func testAlone(t *testing.T, skipped []string, change func(env *sourcetest.Env, join func(finite bool) (source.Source, error))) {
	t.Helper()
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, joined := newFile(), false
				join := func(finite bool) (source.Source, error) {
					joined = true
					return f.join(finite)
				}
				env := sourcetest.Env{
					Stream:     "file",
					Partitions: partitions,
					JoinFinite: func() (source.Source, error) { return join(true) },
					Produce:    f.append,
					Alone:      true,
				}
				change(&env, join)
				began := time.Now()
				err := c.Run(t.Context(), env)
				for _, misuse := range f.misuses {
					t.Errorf("the suite breaks the contract: %s", misuse)
				}
				if d := time.Since(began); d > time.Minute {
					t.Errorf("it took %v: it waited for something that cannot happen", d)
				}
				_, missing := errors.AsType[*sourcetest.MissingError](err)
				switch want := slices.Contains(skipped, c.Name); {
				case missing != want:
					t.Errorf("it is skipped: %t, want %t: %v", missing, want, err)
				case !missing && err != nil:
					t.Error(err)
				case missing && joined && c.Name != "LagReachesZero" && c.Name != "PrefetchEndsWithRelease": // which have to see a partition or a source first
					t.Errorf("it joined a member before it said: %v", err)
				}
			})
		})
	}
}
