package kafka_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/commit"
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

func TestForeignProgressSkipsNothing(t *testing.T) {
	ours := func(change func(*commit.Progress)) func(string) string {
		return func(log string) string {
			p := &commit.Progress{Log: log, Epoch: 7, Frontier: 5, Ahead: []commit.Range{{From: 6, To: 8}}, At: "a place"}
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
		used     bool
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
				if r.Frontier != c.frontier || (len(r.Ahead) > 0) != c.used || (r.At == "a place") != c.used {
					t.Errorf("restored = %+v, want frontier %d, ahead and place %v", r, c.frontier, c.used)
				}
				want := 1
				if c.used {
					want = 0
				}
				if n := w.told.times("level=WARN", "ignoring part of the committed progress", "group=g ", "stream=t ", "partition=0 ",
					"offset=5 ", fmt.Sprintf("offset_used=%v ", c.frontier == 5), "error="); n != want {
					t.Errorf("the log has %d lines about ignored progress with partition and cause, want %d", n, want)
				}
				if got := w.fetch(ps[0], 10-int(c.frontier)); got[0] != c.frontier {
					t.Errorf("the first message is %d, want %d", got[0], c.frontier)
				}
				w.close(s, ps)

				w.commitAs("strict", 0, 5, c.metadata(log))
				s = w.source("strict", func(c *kafka.Config) { c.ForeignProgress = kafka.ForeignFail })
				if c.used {
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

// The epoch of a failed claim is not used again: the claim may have been stored.
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
			t.Errorf("epochs %v were claimed, want three refused and one stored", claimed)
		}
	})
}

// The broker forgets an idle group and restarts at generation 1.
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

// I3: ranges ahead are valid only for their own log, and an election may have cut it.
func TestRangesAheadEndWhereTheLogWasCut(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		w.produce(0, 10)
		s := w.source("g")
		ps := w.accept(s, 1)
		w.fetch(ps[0], 10)
		id := ps[0].Restored().Log
		w.commit(ps[0], 2, commit.Range{From: 3, To: 4}, commit.Range{From: 5, To: 9})
		w.close(s, ps)
		restored := func() *commit.Progress {
			s := w.source("g")
			ps := w.accept(s, 1)
			defer w.close(s, ps)
			return ps[0].Restored()
		}
		for range 2 { // the second owner has it from the first, which has read nothing
			if r := restored(); r.Log != id || !slices.Equal(r.Ahead, []commit.Range{{From: 3, To: 4}, {From: 5, To: 9}}) {
				t.Fatalf("restored = %+v of log %q, want all that was settled ahead", r, id)
			}
		}
		asked := 0
		w.cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(r kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			req, ok := r.(*kmsg.OffsetForLeaderEpochRequest)
			if !ok {
				return nil, nil, false
			}
			resp, _ := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
			for _, rt := range req.Topics {
				t := kmsg.NewOffsetForLeaderEpochResponseTopic()
				t.Topic = rt.Topic
				for _, rp := range rt.Partitions {
					asked++
					p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
					p.Partition, p.LeaderEpoch, p.EndOffset = rp.Partition, rp.LeaderEpoch-1, 6
					t.Partitions = append(t.Partitions, p)
				}
				resp.Topics = append(resp.Topics, t)
			}
			return resp, nil, true
		})
		if r := restored(); asked == 0 || !slices.Equal(r.Ahead, []commit.Range{{From: 3, To: 4}, {From: 5, To: 6}}) {
			t.Errorf("restored = %+v after the log was cut at 6, want nothing settled behind", r)
		}
	})
}

// The broker detects that the log was cut only if the request has the committed leader epoch.
func TestFirstFetchSendsTheCommittedLeaderEpoch(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		w.produce(0, 6)
		s := w.source("g")
		ps := w.accept(s, 1)
		w.fetch(ps[0], 6)
		w.commit(ps[0], 3)
		w.close(s, ps)
		sent := make(chan int32, 100)
		w.cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			if req, ok := r.(*kmsg.FetchRequest); ok {
				sent <- req.Topics[0].Partitions[0].LastFetchedEpoch
			}
			return nil, nil, false
		})
		s = w.source("g")
		ps = w.accept(s, 1)
		w.fetch(ps[0], 3)
		if e := <-sent; e != w.cluster.GroupInfo("g").Commits["t"][0].LeaderEpoch || e < 0 {
			t.Errorf("the first request has leader epoch %d", e)
		}
		w.close(s, ps)
	})
}
