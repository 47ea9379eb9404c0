package kafka_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

func TestMissingTopicIsNamedAndNotCreated(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		s, err := kafka.New(w.brokers, "g", []string{"t", "absent"}, w.config())
		if err != nil {
			t.Fatal(err)
		}
		err = w.acceptErr(s)
		if !errors.Is(err, kafka.ErrTopicMissing) || !strings.Contains(err.Error(), "absent") || !strings.Contains(err.Error(), `"g"`) {
			t.Errorf("Accept = %v, want ErrTopicMissing that names topic and group", err)
		}
		w.close(s, nil)
		cl := w.client()
		defer cl.Close()
		topics, err := kadm.NewClient(cl).ListTopics(t.Context())
		if err != nil || topics.Has("absent") {
			t.Errorf("topics = %v, %v: the request created the topic", topics.Names(), err)
		}
	}, kfake.AllowAutoTopicCreation())
}

func TestWatchTopicsReadsATopicThatIsCreatedLater(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		cfg := w.config()
		cfg.WatchTopics = true
		s, err := kafka.New(w.brokers, "g", []string{"t", "later"}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		ps := w.accept(s, 1)
		cl := w.client()
		defer cl.Close()
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 2, 1, nil, "later"); err != nil {
			t.Fatal(err)
		}
		w.follow(ps)
		streams := make(map[string]int)
		for range 3 {
			p, err := s.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			streams[p.ID().Stream]++
			w.release(p)
		}
		w.close(s, nil)
		if streams["t"] != 1 || streams["later"] != 2 {
			t.Errorf("accepted %v, want t once and later twice", streams)
		}
	})
}

func TestNewPartitionsAreRead(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 1)
		cl := w.client()
		defer cl.Close()
		if _, err := kadm.NewClient(cl).CreatePartitions(t.Context(), 2, "t"); err != nil {
			t.Fatal(err)
		}
		w.follow(ps)
		w.close(s, w.accept(s, 3))
	})
}

// A deleted partition must not delay the others.
func TestTopicMadeAgainWithFewerPartitionsIsRead(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 3)
		for _, p := range ps {
			go func() { _ = p.Fetch(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1000}) }()
		}
		synctest.Wait()
		if err := errors.Join(w.cluster.DeleteTopic("t"), w.cluster.CreateTopic("t", 2, nil)); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int32{2, 0, 1} { // the deleted one first
			if l := <-ps[n].Leaving(); !l.Lost {
				t.Errorf("leave = %+v, want lost", l)
			}
			w.release(ps[n])
		}
		ps = w.accept(s, 2)
		w.produce(1, 3)
		w.fetch(ps[1], 3)

		time.Sleep(10 * time.Second) // until partition 2 is not looked for any more
		cl := w.client()
		defer cl.Close()
		if _, err := kadm.NewClient(cl).CreatePartitions(t.Context(), 1, "t"); err != nil {
			t.Fatal(err)
		}
		w.follow(ps)
		w.close(s, w.accept(s, 3))
	})
}

// kafka-go's leader finds no partition of any topic if one topic is unknown, and would assign none.
func TestDeletedTopicStopsNoOtherTopic(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		if err := w.cluster.CreateTopic("u", 2, nil); err != nil {
			t.Fatal(err)
		}
		cfg := w.config()
		cfg.WatchTopics = true
		a, err := kafka.New(w.brokers, "g", []string{"t", "u"}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		accept := func(s *kafka.Source, n int) (ps []source.Partition) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			for range n {
				p, err := s.Accept(ctx)
				if err != nil {
					t.Errorf("Accept = %v: %+v", err, s.Report())
					break
				}
				ps = append(ps, p)
			}
			return ps
		}
		ps := accept(a, 3)
		if err := w.cluster.DeleteTopic("t"); err != nil {
			t.Fatal(err)
		}
		c, err := kafka.New(w.brokers, "g", []string{"u"}, w.config())
		if err != nil {
			t.Fatal(err)
		}
		of := make(chan []source.Partition, 1)
		go func() { of <- accept(c, 1) }()
		for _, p := range ps {
			<-p.Leaving()
			w.release(p)
		}
		as, cs := accept(a, 1), <-of
		for _, p := range append(as, cs...) {
			if p.ID().Stream != "u" {
				t.Errorf("accepted %v of a topic that was deleted", p.ID())
			}
		}

		if err := w.cluster.CreateTopic("t", 1, nil); err != nil { // it is read again when it exists again
			t.Fatal(err)
		}
		again := make(chan bool, 3)
		for _, s := range []*kafka.Source{a, c} {
			held := map[*kafka.Source][]source.Partition{a: as, c: cs}[s]
			go func() {
				for _, p := range held {
					<-p.Leaving()
					w.release(p)
				}
				for {
					p, err := s.Accept(t.Context())
					if err != nil {
						return
					}
					if p.ID().Stream == "t" {
						again <- true
					}
					go func() {
						<-p.Leaving()
						w.release(p)
					}()
				}
			}()
		}
		<-again
		for _, s := range []*kafka.Source{a, c} {
			_ = s.Close() // its partitions are held
		}
	})
}
