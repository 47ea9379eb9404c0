package sourcetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
	"github.com/keystrand/keystrand/source/sourcetest"
)

// broken is a memory source with one promise broken on purpose. A func that is nil leaves the method as it is.
type broken struct {
	*memory.Source
	accept func(ctx context.Context, next func(context.Context) (source.Partition, error)) (source.Partition, error)
	close  func(next func() error) error
	wrap   func(p *brokenPartition)
	held   int64 // the result of Prefetched
	means  func() source.Description
}

func (s *broken) Describe() source.Description {
	if s.means != nil {
		return s.means()
	}
	return s.Source.Describe()
}

func (s *broken) LimitPrefetch(int) {}
func (s *broken) Prefetched() int64 { return s.held }

func (s *broken) Accept(ctx context.Context) (source.Partition, error) {
	accept := func(ctx context.Context) (source.Partition, error) {
		inner, err := s.Source.Accept(ctx)
		if err != nil {
			return nil, err
		}
		p := &brokenPartition{Partition: inner, id: inner.ID(), restored: inner.Restored(), leaving: inner.Leaving()}
		if s.wrap != nil {
			s.wrap(p)
		}
		return p, nil
	}
	if s.accept != nil {
		return s.accept(ctx, accept)
	}
	return accept(ctx)
}

func (s *broken) Close() error {
	if s.close != nil {
		return s.close(s.Source.Close)
	}
	return s.Source.Close()
}

// brokenPartition is a partition of it.
type brokenPartition struct {
	source.Partition
	id       source.ID
	restored *commit.Progress
	leaving  <-chan source.Leave
	fetch    func(ctx context.Context, b *source.Batch) error
	commit   func(ctx context.Context, p *commit.Progress) (commit.Stored, error)
	release  func(ctx context.Context) error
	end      func() (int64, bool)
}

func (p *brokenPartition) ID() source.ID                { return p.id }
func (p *brokenPartition) Restored() *commit.Progress   { return p.restored }
func (p *brokenPartition) Leaving() <-chan source.Leave { return p.leaving }

func (p *brokenPartition) Fetch(ctx context.Context, b *source.Batch) error {
	if p.fetch != nil {
		return p.fetch(ctx, b)
	}
	return p.Partition.Fetch(ctx, b)
}

func (p *brokenPartition) Commit(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
	if p.commit != nil {
		return p.commit(ctx, progress)
	}
	honest := *progress
	honest.Epoch = p.Partition.ID().Epoch // where the wrapper lies about it
	return p.Partition.Commit(ctx, &honest)
}

func (p *brokenPartition) Release(ctx context.Context) error {
	if p.release != nil {
		return p.release(ctx)
	}
	return p.Partition.Release(ctx)
}

func (p *brokenPartition) End() (int64, bool) {
	if p.end != nil {
		return p.end()
	}
	return p.Partition.(source.Lagger).End() //nolint:errcheck // the memory source's always is one
}

// shared is the state that the members of one broken group share.
type shared struct {
	mu     sync.Mutex
	last   map[int32]*commit.Progress // the last commit, by partition
	before map[int32]*commit.Progress // the commit before that
	over   chan struct{}              // closed when the test is over
}

func (s *shared) committed(p int32, progress *commit.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before[p], s.last[p] = s.last[p], progress
}

func (s *shared) restored(p int32) (last, before *commit.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[p], s.before[p]
}

// wrapped wraps io.EOF and no other error.
func wrapped(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read: %w", err)
	}
	return err
}

// TestCasesFail shows that every case can fail: for each there is a source that breaks its promise.
func TestCasesFail(t *testing.T) {
	tests := []struct {
		name   string // how the source breaks its promise
		fails  string // the case that must fail
		breaks func(s *broken, all *shared)
	}{
		{"leaves a partition out", "AcceptReturnsEveryPartition", func(s *broken, _ *shared) {
			s.accept = func(ctx context.Context, next func(context.Context) (source.Partition, error)) (source.Partition, error) {
				p, err := next(ctx)
				if err == nil && p.ID().Partition == 1 {
					_ = p.Release(ctx)
					<-ctx.Done()
					return nil, context.Cause(ctx)
				}
				return p, err
			}
		}},
		{"does not look at the ctx of Accept", "AcceptReturnsWhenCtxEnds", func(s *broken, all *shared) {
			s.accept = func(ctx context.Context, next func(context.Context) (source.Partition, error)) (source.Partition, error) {
				both, cancel := context.WithCancel(context.WithoutCancel(ctx))
				defer cancel()
				go func() {
					select {
					case <-all.over:
						cancel()
					case <-both.Done():
					}
				}()
				return next(both)
			}
		}},
		{"names no system", "DescribesItself", func(s *broken, _ *shared) {
			s.means = func() source.Description { return source.Description{Group: "saves"} }
		}},
		{"names another group", "DescribesItself", func(s *broken, _ *shared) {
			s.means = func() source.Description { return source.Description{System: "memory", Group: "others"} }
		}},
		{"tells a password", "DescribesItself", func(s *broken, _ *shared) {
			s.means = func() source.Description {
				return source.Description{System: "memory", Group: "saves", Servers: []string{"me:secret@broker:9092"}}
			}
		}},
		{"describes itself otherwise each time", "DescribesItself", func(s *broken, _ *shared) {
			calls := 0
			s.means = func() source.Description {
				calls++
				return source.Description{System: "memory", Group: "saves", Servers: []string{fmt.Sprintf("broker-%d:9092", calls)}}
			}
		}},
		{"waits in Release for a Fetch", "ReleaseWithoutFetch", func(s *broken, all *shared) {
			s.wrap = func(p *brokenPartition) {
				fetched := make(chan struct{})
				var once sync.Once
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					once.Do(func() { close(fetched) })
					return p.Partition.Fetch(ctx, b)
				}
				p.release = func(ctx context.Context) error {
					select {
					case <-fetched:
					case <-all.over:
					case <-ctx.Done():
						return context.Cause(ctx)
					}
					return p.Partition.Release(ctx)
				}
			}
		}},
		{"ends one batch early", "FiniteEndsWithEOF", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				fetches := 0
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					if fetches++; fetches == 1 {
						b.MaxMessages = min(b.MaxMessages, 5)
						return p.Partition.Fetch(ctx, b)
					}
					return io.EOF
				}
			}
		}},
		{"wraps the end of a partition", "FiniteEndsWithEOF", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					return wrapped(p.Partition.Fetch(ctx, b))
				}
			}
		}},
		{"wraps the end of the source", "FiniteEndsWithEOF", func(s *broken, _ *shared) {
			s.accept = func(ctx context.Context, next func(context.Context) (source.Partition, error)) (source.Partition, error) {
				p, err := next(ctx)
				return p, wrapped(err)
			}
		}},
		{"leaves a goroutine behind", "CloseEndsGoroutines", func(s *broken, all *shared) {
			s.close = func(next func() error) error {
				go func() { <-all.over }()
				return next()
			}
		}},
		{"swaps two messages", "MessagesInOrder", fetched(func(b *source.Batch) {
			if m := b.Messages; len(m) > 1 {
				m[0].Key, m[1].Key, m[0].Value, m[1].Value = m[1].Key, m[0].Key, m[1].Value, m[0].Value
			}
		})},
		{"returns local times", "MessagesInOrder", fetched(func(b *source.Batch) {
			for i := range b.Messages {
				b.Messages[i].Time = b.Messages[i].Time.Local()
			}
		})},
		{"turns nil into empty", "EmptyIsNotNil", fetched(func(b *source.Batch) {
			for i := range b.Messages {
				if b.Messages[i].Value == nil {
					b.Messages[i].Value = []byte{}
				}
			}
		})},
		{"waits for a message whatever its ctx says", "FetchReturnsWhenCtxEnds", func(s *broken, all *shared) {
			s.wrap = func(p *brokenPartition) {
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					for {
						err := p.Partition.Fetch(ctx, b)
						if err == nil || ctx.Err() == nil {
							return err
						}
						select {
						case <-all.over:
							return err
						case <-p.leaving:
						}
					}
				}
			}
		}},
		{"drops a batch when its ctx has ended", "FetchAfterCtxGoesOnAtSamePosition", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					if ctx.Err() == nil {
						return p.Partition.Fetch(ctx, b)
					}
					soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Millisecond)
					defer cancel()
					_ = p.Partition.Fetch(soon, b)
					return context.Cause(ctx)
				}
			}
		}},
		{"brings ten times too many", "BatchLimitsRespected", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					larger := source.Batch{Messages: b.Messages, MaxMessages: 10 * b.MaxMessages, MaxBytes: 10 * b.MaxBytes}
					err := p.Partition.Fetch(ctx, &larger)
					b.Messages, b.Next = larger.Messages, larger.Next
					return err
				}
			}
		}},
		{"reuses its buffer", "BytesAreNeverReused", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				buffer := make([]byte, 0, 1<<20)
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					buffer = buffer[:0]
					err := p.Partition.Fetch(ctx, b)
					for i := range b.Messages {
						from := len(buffer)
						buffer = append(buffer, b.Messages[i].Value...)
						b.Messages[i].Value = buffer[from:len(buffer):len(buffer)]
					}
					return err
				}
			}
		}},
		{"counts messages as offsets", "OffsetsAscendAndMaySkip", fetched(func(b *source.Batch) {
			if len(b.Messages) > 0 {
				b.Next = b.Messages[0].Offset
			}
		})},
		{"hides moves without messages", "PositionMovesWithoutMessages", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					for {
						if err := p.Partition.Fetch(ctx, b); err != nil || len(b.Messages) > 0 {
							return err
						}
					}
				}
			}
		}},
		{"counts what will never come as lag", "LagReachesZero", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				p.end = func() (int64, bool) {
					end, ok := p.Partition.(source.Lagger).End() //nolint:errcheck // the memory source's always is one
					return end + 1, ok
				}
			}
		}},
		{"fetches all partitions in turns", "UnfetchedPartitionStopsNoOther", func(s *broken, _ *shared) {
			var mu sync.Mutex
			last, changed := int32(-1), make(chan struct{})
			s.wrap = func(p *brokenPartition) {
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					for {
						mu.Lock()
						wait := changed
						if last != p.id.Partition {
							last = p.id.Partition
							close(changed)
							changed = make(chan struct{})
							mu.Unlock()
							return p.Partition.Fetch(ctx, b)
						}
						mu.Unlock()
						select {
						case <-wait:
						case <-ctx.Done():
							return context.Cause(ctx)
						}
					}
				}
			}
		}},
		{"forgets ranges", "RestoredIsWhatWasCommitted", restoring(func(p *brokenPartition, _ *shared) {
			p.restored.Ahead = nil
		})},
		{"restores the commit before the last", "CommitIsSeenByNextOwner", restoring(func(p *brokenPartition, all *shared) {
			if _, before := all.restored(p.id.Partition); before != nil {
				p.restored.Frontier, p.restored.Ahead = before.Frontier, before.Ahead
			}
		})},
		{"waits for a commit of every partition", "CommitOfManyPartitionsAtOnce", func(s *broken, _ *shared) {
			var mu sync.Mutex
			waiting, full := map[int32]bool{}, make(chan struct{})
			s.wrap = func(p *brokenPartition) {
				p.commit = func(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
					mu.Lock()
					waiting[p.id.Partition] = true
					wait := full
					if len(waiting) == partitions {
						close(full)
						clear(waiting)
						full = make(chan struct{})
					}
					mu.Unlock()
					select {
					case <-wait:
						return p.Partition.Commit(ctx, progress)
					case <-ctx.Done():
						return commit.Stored{}, context.Cause(ctx)
					}
				}
			}
		}},
		{"begins its epochs again", "EpochGrows", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				p.id.Epoch = 1
				p.restored.Epoch = 1
			}
		}},
		{"applies ranges to a log that was created again", "RecreatedLogIsNotSkipped", restoring(func(p *brokenPartition, all *shared) {
			if last, _ := all.restored(p.id.Partition); last != nil {
				p.restored.Ahead = last.Ahead
			}
		})},
		{"takes the frontier of the old log", "LogRecreatedUnderItsOwner", func(s *broken, all *shared) {
			restoring(func(p *brokenPartition, all *shared) {
				last, _ := all.restored(p.id.Partition)
				if last == nil {
					return
				}
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					err := p.Partition.Fetch(ctx, b)
					b.Messages = slices.DeleteFunc(b.Messages, func(m keystrand.Message) bool { return m.Offset < last.Frontier })
					return err
				}
			})(s, all)
		}},
		{"says lost where it means revoked", "RevokedBeforeLost", func(s *broken, all *shared) {
			leaves(s, all, func(_ *brokenPartition, leave source.Leave) []source.Leave {
				leave.Lost = true
				return []source.Leave{leave}
			})
		}},
		{"fetches on while it is revoked", "LeavingFetchReturnsErrLeaving", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					err := p.Partition.Fetch(ctx, b)
					if errors.Is(err, source.ErrLeaving) {
						<-ctx.Done()
						return context.Cause(ctx)
					}
					return err
				}
			}
		}},
		{"releases the partition as soon as it is revoked", "NoAcceptBeforeRelease", func(s *broken, all *shared) { early(s, all) }},
		{"releases the partition as soon as it is revoked", "NoAcceptBeforeReleaseBySameMember", func(s *broken, all *shared) { early(s, all) }},
		{"begins after what its owner has read", "EverythingComesOverHandOvers", func(s *broken, _ *shared) {
			s.wrap = func(p *brokenPartition) {
				first := p.id.Epoch > 1
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					err := p.Partition.Fetch(ctx, b)
					if first && len(b.Messages) > 0 {
						first, b.Messages = false, b.Messages[1:]
					}
					return err
				}
			}
		}},
		{"commits what was read by itself", "CrashReplaysFromCommitted", func(s *broken, all *shared) {
			s.wrap = func(p *brokenPartition) {
				p.fetch = func(ctx context.Context, b *source.Batch) error {
					err := p.Partition.Fetch(ctx, b)
					if err == nil {
						all.committed(p.id.Partition, &commit.Progress{Frontier: b.Next})
					}
					return err
				}
				if last, _ := all.restored(p.id.Partition); last != nil {
					p.restored.Frontier = last.Frontier
				}
			}
		}},
		{"says revoked where it means lost", "LostCancelsAtOnce", func(s *broken, all *shared) {
			leaves(s, all, func(_ *brokenPartition, leave source.Leave) []source.Leave {
				leave.Lost = false
				return []source.Leave{leave}
			})
		}},
		{"does not tell that a commit was refused", "OldEpochIsFenced", func(s *broken, _ *shared) { deaf(s) }},
		{"keeps bytes of a released partition", "PrefetchEndsWithRelease", func(s *broken, _ *shared) { s.held = 1 }},
	}

	tested := map[string]bool{}
	for _, test := range tests {
		tested[test.fails] = true
		for as, form := range map[string]func(sourcetest.Env) sourcetest.Env{
			"":          func(env sourcetest.Env) sourcetest.Env { return env },
			", as rows": asRows,
		} {
			t.Run(test.fails+" "+test.name+as, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					all := &shared{last: map[int32]*commit.Progress{}, before: map[int32]*commit.Progress{}, over: make(chan struct{})}
					env := form(newEnv(func(s *broken) { test.breaks(s, all) }))
					cases := sourcetest.Cases()
					i := slices.IndexFunc(cases, func(c sourcetest.Case) bool { return c.Name == test.fails })
					if i < 0 {
						t.Fatalf("there is no case %s", test.fails)
					}
					err := cases[i].Run(t.Context(), env)
					close(all.over)
					if err == nil {
						t.Errorf("%s passes", test.fails)
					}
					if missing, ok := errors.AsType[*sourcetest.MissingError](err); ok {
						t.Errorf("%s was not run: %v", test.fails, missing)
					}
					t.Logf("%v", err)
				})
			})
		}
	}
	for _, c := range sourcetest.Cases() {
		if !tested[c.Name] {
			t.Errorf("no broken source shows that %s can fail", c.Name)
		}
	}
}

// fetched breaks the batches of Fetch.
func fetched(change func(b *source.Batch)) func(*broken, *shared) {
	return func(s *broken, _ *shared) {
		s.wrap = func(p *brokenPartition) {
			p.fetch = func(ctx context.Context, b *source.Batch) error {
				err := p.Partition.Fetch(ctx, b)
				if err == nil {
					change(b)
				}
				return err
			}
		}
	}
}

// restoring breaks the restored progress; all has the commits.
func restoring(change func(p *brokenPartition, all *shared)) func(*broken, *shared) {
	return func(s *broken, all *shared) {
		s.wrap = func(p *brokenPartition) {
			p.commit = func(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
				all.committed(p.id.Partition, progress)
				return p.Partition.Commit(ctx, progress)
			}
			change(p, all)
		}
	}
}

// deaf answers every commit as if it was stored.
func deaf(s *broken) {
	s.wrap = func(p *brokenPartition) {
		p.commit = func(ctx context.Context, progress *commit.Progress) (commit.Stored, error) {
			_, _ = p.Partition.Commit(ctx, progress)
			return commit.Stored{Frontier: progress.Frontier}, nil
		}
	}
}

// leaves replaces each value of Leaving by those that say returns.
func leaves(s *broken, all *shared, say func(*brokenPartition, source.Leave) []source.Leave) {
	s.wrap = func(p *brokenPartition) {
		said := make(chan source.Leave, 4)
		inner := p.Partition.Leaving()
		p.leaving = said
		go func() {
			for {
				select {
				case leave := <-inner:
					for _, l := range say(p, leave) {
						said <- l
					}
				case <-all.over:
					return
				}
			}
		}()
	}
}

// early releases a partition when it is revoked, before its Release.
func early(s *broken, all *shared) {
	leaves(s, all, func(p *brokenPartition, leave source.Leave) []source.Leave {
		_ = p.Partition.Release(context.Background())
		return []source.Leave{leave}
	})
	wrap := s.wrap
	s.wrap = func(p *brokenPartition) {
		wrap(p)
		p.release = func(context.Context) error { return nil }
	}
}

const partitions = 3

// newEnv makes an Env on a memory log. breaks changes each of its sources.
func newEnv(breaks func(s *broken)) sourcetest.Env {
	log := memory.NewLog("comments", partitions)
	join := func() (source.Source, error) {
		s := &broken{Source: memory.NewSource(memory.Config{Group: "saves"}, log)}
		breaks(s)
		return s, nil
	}
	inner := func(s source.Source) *memory.Source {
		return s.(*broken).Source //nolint:errcheck // join makes no others
	}
	return sourcetest.Env{
		Stream:     log.Stream(),
		Partitions: partitions,
		Group:      "saves",
		Join:       join,
		JoinFinite: func() (source.Source, error) { log.Close(); return join() },
		Produce:    func(p int32, msgs ...keystrand.Message) error { log.Append(p, msgs...); return nil },
		Skip:       func(p int32) (int64, error) { return log.Skip(p, 3), nil },
		Recreate:   func() error { log.Recreate(); return nil },
		Crash:      func(s source.Source) error { inner(s).Crash(); return nil },
		Lose:       func(s source.Source, id source.ID) error { inner(s).Lose(id.Stream, id.Partition); return nil },
	}
}

// TestCasesPass shows that the wrapper alone breaks nothing.
func TestCasesPass(t *testing.T) {
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Test(t, newEnv(func(*broken) {})) })
		})
	}
}
