package pulsar

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/source/memory"
)

func TestLiveCheckTellsWhetherTheTopicCanBeWritten(t *testing.T) {
	l := newLive(t)
	ns := l.namespace(t)
	good := l.topic(t, ns, 2)
	l.ask(t, "namespaces/"+ns+"/autoTopicCreation", map[string]bool{"allowAutoTopicCreation": false})
	for topic, want := range map[string]bool{
		good:                                 false,
		"persistent://" + ns + "/absent":     true,
		"persistent://public/nowhere/absent": true,
		"persistent://noone/nowhere/absent":  true,
	} {
		t.Run(topic, func(t *testing.T) {
			s, err := New(l.url, topic, Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // nothing is open
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			start := time.Now()
			err = s.Check(ctx)
			t.Logf("after %v: %v", time.Since(start), err)
			o, _ := keystrand.OutcomeOf(err)
			if (o == keystrand.OutcomePermanent) != want || errors.Is(err, sink.ErrDestination) != want || (err != nil) != want {
				t.Errorf("Check: %v", err)
			}
		})
	}
}

// Letters of messages that Pulsar would refuse: a time of another system, and headers with one name.
func TestLiveLettersOfOddMessagesAreStored(t *testing.T) {
	l := newLive(t)
	topic := l.topic(t, l.namespace(t), 1)
	dlq, err := New(l.url, topic, Config{})
	if err != nil {
		t.Fatal(err)
	}
	log := memory.NewLog("orders", 1)
	for _, ms := range []int64{253_402_300_799_000, -1000, 0, 1_796_026_409_047_000} {
		log.Append(0, keystrand.Message{Key: fmt.Append(nil, ms), Value: []byte("v"), Time: time.UnixMilli(ms)})
	}
	log.Append(0, keystrand.Message{Key: []byte("twice"), Headers: []keystrand.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}}})
	log.Close()
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
		HandleFunc(func(context.Context, *keystrand.Message) error { return errors.New("no") }).
		OnFailure(pipeline.DeadLetter(dlq)).Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if s := p.Snapshot(); s.DeadLettered != 5 || s.Failed != 5 {
		t.Errorf("dead-lettered %d, failed %d; want 5 and 5", s.DeadLettered, s.Failed)
	}
	if err := dlq.Close(); err != nil {
		t.Error(err)
	}
}
