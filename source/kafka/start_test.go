package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// Virtual time: everything here runs in inWorld, which is a bubble.

// commitAs commits as another program does.
func (w *world) commitAs(group string, partition int32, offset int64, metadata string) {
	w.t.Helper()
	w.commitWith(group, partition, kadm.Offset{At: offset, LeaderEpoch: -1, Metadata: metadata})
}

func (w *world) commitWith(group string, partition int32, o kadm.Offset) {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	o.Topic, o.Partition = w.topic, partition
	var offsets kadm.Offsets
	offsets.Add(o)
	if err := kadm.NewClient(cl).CommitAllOffsets(w.t.Context(), group, offsets); err != nil {
		w.t.Fatal(err)
	}
}

func TestForeignProgressIsNeverASkip(t *testing.T) {
	ours := func(change func(*commit.Progress)) func(string) string {
		return func(log string) string {
			p := &commit.Progress{Log: log, Epoch: 7, Frontier: 5, Ahead: []commit.Range{{From: 6, To: 8}}}
			change(p)
			text, _ := commit.Encode(p, 0)
			return text
		}
	}
	same := func(*commit.Progress) {}
	for _, c := range []struct {
		name     string
		metadata func(log string) string
		frontier int64
		believed bool
	}{
		{"ours", ours(same), 5, true},
		{"none", func(string) string { return "" }, 5, false},
		{"another program's", func(string) string { return "committed by hand" }, 5, false},
		{"cut off", func(log string) string { s := ours(same)(log); return s[:len(s)-3] }, 5, false},
		{"not even text", func(string) string { return "\xff\x00\xfe" }, 5, false},
		{"of a newer version", func(log string) string { return newer(ours(same)(log)) }, 5, false},
		{"of another offset", ours(func(p *commit.Progress) { p.Frontier = 2 }), 5, false},
		{"of another log", ours(func(p *commit.Progress) { p.Log = "another" }), 0, false},
		{"of a log without a name", ours(func(p *commit.Progress) { p.Log = "" }), 5, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produce(0, 10)
				s := w.source("first")
				ps := w.accept(s, 1)
				log := ps[0].Restored().Log
				w.close(s, ps)
				w.commitAs("g", 0, 5, c.metadata(log))

				s = w.source("g")
				ps = w.accept(s, 1)
				r := ps[0].Restored()
				if r.Frontier != c.frontier || (len(r.Ahead) > 0) != c.believed {
					t.Errorf("restored = %+v, want frontier %d, ahead %v", r, c.frontier, c.believed)
				}
				want := 1
				if c.believed {
					want = 0
				}
				if n := w.told.times("level=WARN", "ignoring part of the committed progress", "group=g ", "stream=t ", "partition=0 ",
					"offset=5 ", fmt.Sprintf("offset_used=%v ", c.frontier == 5), "error="); n != want {
					t.Errorf("the log tells %d times that progress is not believed, of which partition and why, want %d", n, want)
				}
				if got := w.fetch(ps[0], 10-int(c.frontier)); got[0] != c.frontier {
					t.Errorf("the first message is %d, want %d", got[0], c.frontier)
				}
				w.close(s, ps)

				w.commitAs("strict", 0, 5, c.metadata(log))
				s = w.source("strict", func(c *kafka.Config) { c.ForeignProgress = kafka.ForeignFail })
				if c.believed {
					w.close(s, w.accept(s, 1))
					return
				}
				err := w.acceptErr(s)
				if !errors.Is(err, kafka.ErrForeignProgress) || !strings.Contains(err.Error(), "t/0") {
					t.Errorf("Accept = %v, want ErrForeignProgress that names t/0", err)
				}
				w.close(s, nil)
			})
		})
	}
}

// newer makes text look as if a later version of the codec had written it.
func newer(text string) string {
	for i := range text {
		changed := text[:i] + string(text[i]+1) + text[i+1:]
		if _, err := commit.Decode(changed); errors.Is(err, commit.ErrVersion) {
			return changed
		}
	}
	panic("no version in " + text)
}

func TestStart(t *testing.T) {
	noon := time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name      string
		start     kafka.Start
		committed int64 // -1: nothing
		want      int64
	}{
		{"committed", kafka.Committed(), 4, 4},
		{"committed, nothing is", kafka.Committed(), -1, 0},
		{"committed or latest", kafka.CommittedOrLatest(), 4, 4},
		{"committed or latest, nothing is", kafka.CommittedOrLatest(), -1, 10},
		{"earliest", kafka.Earliest(), 4, 0},
		{"latest", kafka.Latest(), 4, 10},
		{"at a time", kafka.At(noon), 4, 5},
		{"at a time to come", kafka.At(noon.Add(time.Hour)), 4, 10},
		{"given", kafka.Offsets(map[string]map[int32]int64{"t": {0: 7}}), 4, 7},
		{"given for another", kafka.Offsets(map[string]map[int32]int64{"t": {3: 7}}), 4, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produceAt(noon.Add(-time.Hour), 5)
				w.produceAt(noon, 5)
				if c.committed >= 0 {
					w.commitAs("g", 0, c.committed, "")
				}
				s := w.source("g", func(cfg *kafka.Config) { cfg.Start = c.start })
				ps := w.accept(s, 1)
				if got := ps[0].Restored().Frontier; got != c.want {
					t.Errorf("begins at %d, want %d", got, c.want)
				}
				if got, _ := w.stored("g", 0); got != c.want {
					t.Errorf("%d is committed, want %d: a restart would begin elsewhere", got, c.want)
				}
				w.close(s, ps)
			})
		})
	}
}

func (w *world) produceAt(at time.Time, n int) {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	for range n {
		if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: w.topic, Timestamp: at, Value: []byte("x")}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A start that overrides what is committed must not count again when a partition moves, or messages are skipped.
func TestStartCountsOnceForThePartition(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		w.produce(0, 4)
		w.produce(1, 4)
		latest := func(c *kafka.Config) { c.Start = kafka.Latest() }
		a, b := w.source("g", latest), w.source("g", latest)
		ps := w.accept(a, 2)
		w.produce(0, 6)
		w.produce(1, 6)
		got := w.join(b, 1)
		w.follow(ps)
		as, bs := w.accept(a, 1), <-got
		for _, all := range []map[int32]source.Partition{as, bs} {
			for _, p := range all {
				if f := p.Restored().Frontier; f != 4 {
					t.Errorf("%v begins at %d, want 4: messages are skipped", p.ID(), f)
				}
			}
		}
		w.close(a, as)
		w.close(b, bs)
	})
}

// Whoever begins at the end means the end of what was there then.
func TestPartitionsMadeLaterAreReadFromTheirFirstMessage(t *testing.T) {
	for _, start := range []kafka.Start{kafka.Committed(), kafka.CommittedOrLatest(), kafka.Latest()} {
		t.Run(start.String(), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produce(0, 3)
				s := w.source("g", func(c *kafka.Config) { c.Start = start })
				ps := w.accept(s, 1)
				cl := w.client()
				defer cl.Close()
				if _, err := kadm.NewClient(cl).CreatePartitions(t.Context(), 1, w.topic); err != nil {
					t.Fatal(err)
				}
				w.produce(1, 5)
				w.follow(ps)
				ps = w.accept(s, 2)
				if f := ps[1].Restored().Frontier; f != 0 {
					t.Errorf("the new partition begins at %d, want 0: messages are skipped", f)
				}
				w.close(s, ps)
			})
		})
	}
}

// A broker forgets what is committed for a topic that is deleted. The new one did not exist when the source began.
func TestTopicMadeAgainIsReadFromItsFirstMessage(t *testing.T) {
	for _, start := range []kafka.Start{
		kafka.Committed(), kafka.CommittedOrLatest(), kafka.Latest(), kafka.Offsets(map[string]map[int32]int64{"t": {0: 3}}),
	} {
		t.Run(start.String(), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produce(0, 3)
				s := w.source("g", func(c *kafka.Config) { c.Start = start })
				ps := w.accept(s, 1)
				if err := errors.Join(w.cluster.DeleteTopic(w.topic), w.cluster.CreateTopic(w.topic, 1, nil)); err != nil {
					t.Fatal(err)
				}
				if offset, _ := w.stored("g", 0); offset != -1 {
					t.Fatalf("offset %d is still committed", offset)
				}
				w.produce(0, 5)
				var err error
				for err == nil { // from the first message on, with some starts
					err = ps[0].Fetch(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1000})
				}
				if !errors.Is(err, source.ErrLeaving) {
					t.Fatalf("Fetch = %v, want ErrLeaving", err)
				}
				w.release(ps[0])
				ps = w.accept(s, 1)
				if f := ps[0].Restored().Frontier; f != 0 {
					t.Errorf("the new log begins at %d, want 0: messages are skipped", f)
				}
				w.close(s, ps)
			})
		})
	}
}

func TestFiniteSourceEndsAtTheEndSeenAtItsStart(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		t := w.t
		w.produce(0, 5)
		w.produce(1, 2)
		s := w.source("g", func(c *kafka.Config) { c.StopAtEnd = true })
		ps := w.accept(s, 2) // the third is empty
		w.produce(0, 5)
		if got := w.fetch(ps[0], 5); !slices.Equal(got, []int64{0, 1, 2, 3, 4}) {
			t.Errorf("messages %v, want 0 to 4", got)
		}
		w.toEnd(ps[0], 0)
		w.toEnd(ps[1], 2)
		for n, p := range ps {
			w.commit(p, map[int32]int64{0: 5, 1: 2}[n])
			w.release(p)
		}
		if err := w.acceptErr(s); !errors.Is(err, io.EOF) {
			t.Errorf("Accept = %v, want EOF", err)
		}
		w.close(s, nil)

		s = w.source("g2", func(c *kafka.Config) { c.StopAtEnd, c.Start = true, kafka.Latest() })
		if err := w.acceptErr(s); !errors.Is(err, io.EOF) {
			t.Errorf("Accept with nothing to do = %v, want EOF", err)
		}
		w.close(s, nil)
	})
}

// toEnd reads a finite partition of n messages.
func (w *world) toEnd(p source.Partition, n int) {
	w.t.Helper()
	w.fetch(p, n)
	if err := p.Fetch(w.t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}); !errors.Is(err, io.EOF) {
		w.t.Errorf("%v: Fetch at the end = %v, want EOF", p.ID(), err)
	}
}

// A member that is done stays until the others are: if they fail, their partitions are its own.
func TestFiniteSourceWaitsForTheGroup(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		w.produce(0, 3)
		w.produce(1, 3)
		finite := func(c *kafka.Config) { c.StopAtEnd = true }
		a, b := w.source("g", finite), w.source("g", finite)
		ps := w.accept(a, 2)
		got := w.join(b, 1)
		w.follow(ps)
		as, bs := w.accept(a, 1), <-got
		ended := make(chan error, 1)
		finish := func(all map[int32]source.Partition) {
			for _, p := range all {
				w.toEnd(p, 3)
				w.commit(p, 3)
				w.release(p)
			}
		}
		finish(as)
		go func() { ended <- w.acceptErr(a) }()
		time.Sleep(time.Minute)
		select {
		case err := <-ended:
			t.Errorf("Accept = %v before the other member is done", err)
		default:
		}
		finish(bs)
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("Accept = %v, want EOF", err)
		}
		w.close(a, nil)
		if err := w.acceptErr(b); !errors.Is(err, io.EOF) {
			t.Errorf("Accept of the other = %v, want EOF", err)
		}
		w.close(b, nil)
	})
}

// What has nothing to be read has nothing to be committed either, and still everybody has to hear that it is done.
func TestFiniteMembersDoNotWaitForEachOthersEmptyPartitions(t *testing.T) {
	inWorld(t, 4, func(w *world) {
		t := w.t
		w.produce(1, 3)
		w.produce(3, 3)
		finite := func(c *kafka.Config) { c.StopAtEnd = true }
		members := []*kafka.Source{w.source("g", finite), w.source("g", finite)}
		ended := make(chan error, len(members))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for _, s := range members {
			go func() {
				for {
					p, err := s.Accept(ctx)
					if err != nil {
						ended <- err
						return
					}
					b := &source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
					for err == nil {
						err = p.Fetch(ctx, b)
					}
					if errors.Is(err, io.EOF) {
						_, _ = p.Commit(ctx, progress(p, b.Next))
					}
					w.release(p) //nolint:contextcheck // it has the test's own
				}
			}()
		}
		for range members {
			if err := <-ended; !errors.Is(err, io.EOF) {
				t.Errorf("Accept = %v, want EOF", err)
			}
		}
		for _, s := range members {
			w.close(s, nil)
		}
	})
}

// The end that was read counts only once it is committed: else the last messages would be nobody's.
func TestFinitePartitionThatWasNotCommittedComesAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		w.produce(0, 3)
		s := w.source("g", func(c *kafka.Config) { c.StopAtEnd = true })
		for _, frontier := range []int64{2, 3} {
			p := w.accept(s, 1)[0]
			w.toEnd(p, 1)
			w.commit(p, frontier)
			w.release(p)
		}
		if err := w.acceptErr(s); !errors.Is(err, io.EOF) {
			t.Errorf("Accept = %v, want EOF", err)
		}
		w.close(s, nil)
	})
}

// A partition that was read to its end by one member, and is another's now, is not done before its end is committed.
func TestFiniteMemberWaitsForWhatItHasReadAndNotCommitted(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		w.produce(0, 3)
		w.produce(1, 3)
		finite := func(c *kafka.Config) { c.StopAtEnd = true }
		a, b := w.source("g", finite), w.source("g", finite)
		ps := w.accept(a, 2)
		got := w.join(b, 1)
		for _, p := range ps {
			w.toEnd(p, 3)
		}
		w.follow(ps)
		as, bs := w.accept(a, 1), <-got
		for _, p := range as {
			w.toEnd(p, 3)
			w.commit(p, 3)
			w.release(p)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Accept = %v while the other member has committed nothing, want the end of its ctx", err)
		}
		for _, p := range bs {
			w.toEnd(p, 3)
			w.commit(p, 3)
			w.release(p)
		}
		for _, s := range []*kafka.Source{a, b} {
			if err := w.acceptErr(s); !errors.Is(err, io.EOF) {
				t.Errorf("Accept = %v, want EOF", err)
			}
			w.close(s, nil)
		}
	})
}

// The number of an ownership that was claimed in vain is not used again: whether the claim was stored, nobody can tell.
func TestEpochOfAFailedClaimIsNotUsedAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		var mu sync.Mutex
		claimed := make(map[int64]int32) // epoch → generation
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Observe: true, Count: -1, When: func(r kmsg.Request) bool {
			req, ok := r.(*kmsg.OffsetCommitRequest)
			if !ok {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			for _, c := range sentCommits(r) {
				p, err := commit.Decode(*c.Metadata)
				if err != nil {
					t.Errorf("claim: %v", err)
					continue
				}
				if g, used := claimed[p.Epoch]; used && g != req.Generation {
					t.Errorf("epoch %d is claimed in generation %d, and was in %d", p.Epoch, req.Generation, g)
				}
				claimed[p.Epoch] = req.Generation
			}
			return false
		}})
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.IllegalGeneration, Count: 3})
		s := w.source("g")
		w.close(s, w.accept(s, 1))
		mu.Lock()
		defer mu.Unlock()
		if len(claimed) != 4 {
			t.Errorf("epochs %v were claimed, want those of three that are refused and one", claimed)
		}
	})
}

// The broker forgets a group that was idle for long and begins again with generation 1.
func TestEpochGrowsWhenTheBrokerForgetsTheGroup(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		var last int64
		for range 3 {
			s := w.source("g")
			ps := w.accept(s, 1)
			if e := ps[0].ID().Epoch; e <= last {
				t.Errorf("epoch %d after %d", e, last)
			} else {
				last = e
			}
			w.close(s, ps)
			time.Sleep(time.Second)
			cl := w.client()
			if _, err := kadm.NewClient(cl).DeleteGroups(t.Context(), "g"); err != nil {
				t.Fatal(err)
			}
			cl.Close()
		}
	})
}

func TestOutOfRangePolicies(t *testing.T) {
	for _, c := range []struct {
		name string
		what kafka.OutOfRange
		want int64 // -1: an error
	}{{"fail", kafka.OutOfRangeFail, -1}, {"earliest", kafka.OutOfRangeEarliest, 0}, {"latest", kafka.OutOfRangeLatest, 10}} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				w.produce(0, 10)
				w.commitAs("g", 0, 500, "")
				s := w.source("g", func(cfg *kafka.Config) { cfg.OutOfRange = c.what })
				ps := w.accept(s, 1)
				err := ps[0].Fetch(t.Context(), &source.Batch{MaxMessages: 10, MaxBytes: 1000})
				if c.want < 0 {
					if err == nil || !strings.Contains(err.Error(), "offset 500") {
						t.Errorf("Fetch = %v, want an error that names offset 500", err)
					}
					w.close(s, ps)
					return
				}
				if !errors.Is(err, source.ErrLeaving) {
					t.Fatalf("Fetch = %v, want ErrLeaving: the position goes back, that is another ownership", err)
				}
				if l := <-ps[0].Leaving(); !l.Lost {
					t.Errorf("leave = %+v, want lost", l)
				}
				w.release(ps[0])
				ps = w.accept(s, 1)
				if got := ps[0].Restored().Frontier; got != c.want {
					t.Errorf("begins at %d, want %d", got, c.want)
				}
				w.close(s, ps)
			})
		})
	}
}
