package drc

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Seeds 1 and 14: one subscriber of a topic is active, the others are connected and get heartbeats.
func TestOnlyOneSubscriberGetsRecordsAndTheOthersHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{Topics: []string{"shop", "forum"}})
		first, second, third := s.read(t, "subscriber=a"), s.read(t, "subscriber=b"), s.read(t, "subscriber=c")
		for n := range 50 {
			s.append(t, row("db.a", n))
			time.Sleep(time.Second)
		}
		if got, beat := first.take(); len(got) != 100 || beat.State != Active || beat.Checkpoint != "shop@log1:50" {
			t.Errorf("the active one has %d records, heartbeat %+v", len(got), beat)
		}
		for _, r := range []*reader{second, third} {
			if got, beat := r.take(); len(got) != 0 || beat.State != Waiting || beat.End != "shop@log1:50" || beat.Checkpoint != "" {
				t.Errorf("a waiting one has %v, heartbeat %+v", got, beat)
			}
			if err := r.ended(); err != nil {
				t.Errorf("a waiting one ended: %v", err)
			}
		}
	})
}

func TestTheOneThatHasWaitedLongestBecomesActiveWhenTheActiveOneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		a, b, c := s.read(t, "subscriber=a"), s.read(t, "subscriber=b&from=shop@log1:1"), s.read(t, "subscriber=c")
		s.append(t, row("db.a", 1))
		s.append(t, row("db.a", 2))
		a.close()
		if got, beat := b.take(); short(got) != "2.1 a 2, 2" || beat.State != Active {
			t.Errorf("b has %s, heartbeat %+v", short(got), beat)
		}
		b.close()
		if got, _ := c.take(); short(got) != "1.1 a 1, 1, 2.1 a 2, 2" {
			t.Errorf("c has %s", short(got))
		}
	})
}

func TestAWaitingSubscriberThatLeavesIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		a, b, c := s.read(t, ""), s.read(t, ""), s.read(t, "")
		b.close()
		a.close()
		s.append(t, row("db.a", 1))
		if got, _ := c.take(); short(got) != "1.1 a 1, 1" {
			t.Errorf("c has %s", short(got))
		}
	})
}

// A subscriber with a timeout posts. A frozen process does not, while its kernel keeps the connection and takes heartbeats.
func TestAFrozenSubscriberIsNoticedAfterExactlyItsTimeout(t *testing.T) {
	for _, reading := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, ServerConfig{})
			s.append(t, row("db.a", 1))
			if reading {
				s.read(t, "subscriber=a&timeout=3s")
			} else {
				s.open(t, "subscriber=a&timeout=3s") // what is written blocks
			}
			b := s.read(t, "subscriber=b&timeout=1h")
			time.Sleep(2 * time.Second)
			if status := s.post(t, "a"); status != http.StatusNoContent {
				t.Fatalf("post: %d", status)
			}
			time.Sleep(3*time.Second - 1)
			if got, _ := b.take(); len(got) != 0 {
				t.Errorf("reading %v: b became active before the timeout: %s", reading, short(got))
			}
			time.Sleep(time.Nanosecond)
			if got, _ := b.take(); short(got) != "1.1 a 1, 1" {
				t.Errorf("reading %v: b is not active after the timeout: %s", reading, short(got))
			}
			if status := s.post(t, "a"); status != http.StatusNotFound {
				t.Errorf("reading %v: post of a subscriber that timed out: %d", reading, status)
			}
		})
	}
}

// What holds its reader up may be a slow handler.
func TestASubscriberThatPostsKeepsItsTurnWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		s.open(t, "subscriber=a&timeout=3s")
		b := s.read(t, "timeout=1h")
		s.append(t, row("db.a", 1))
		for range 60 {
			time.Sleep(time.Second)
			if status := s.post(t, "a"); status != http.StatusNoContent {
				t.Fatalf("post: %d", status)
			}
		}
		if got, beat := b.take(); len(got) != 0 || beat.State != Waiting {
			t.Errorf("b became active: %s %+v", short(got), beat)
		}
	})
}

func TestASubscriberThatDoesNotPostLosesItsTurnWhenItStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{Timeout: 6 * time.Second})
		s.open(t, "")
		b := s.read(t, "timeout=1h")
		time.Sleep(8 * time.Second) // one heartbeat fits into the client's buffer, at most
		s.append(t, row("db.a", 1))
		if got, _ := b.take(); short(got) != "1.1 a 1, 1" {
			t.Errorf("b has %s", short(got))
		}
	})
}

func TestASubscriberThatReadsKeepsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{Timeout: 6 * time.Second})
		a := s.read(t, "")
		time.Sleep(time.Hour)
		if _, beat := a.take(); beat.State != Active || a.ended() != nil {
			t.Errorf("heartbeat %+v, ended %v", beat, a.ended())
		}
	})
}

// The client notices a dead server by that.
func TestHeartbeatsComeThriceInATimeoutWhateverElseIsSent(t *testing.T) {
	for name, between := range map[string]time.Duration{"idle": time.Hour, "busy": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, ServerConfig{})
				a := s.read(t, "subscriber=a&timeout=3s&table=db.none")
				for range 4 {
					for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(min(between, time.Second)) {
						s.append(t, row("db.a", 1))
					}
					s.post(t, "a")
					if got, beat := a.take(); beat.Type != Heartbeat {
						t.Errorf("no heartbeat within a second, but %s", short(got))
					}
				}
			})
		})
	}
}

// Restarts need another place than the one that the subscriber began to wait with.
func TestASubscriberMayWaitForItsTurnAndThenOpenStreamsFromWhereItWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		a := s.read(t, "subscriber=a")
		wait := s.read(t, "subscriber=b&from=none&timeout=1h")
		for n := range 5 {
			s.append(t, row("db.a", n), row("db.b", n))
		}
		a.close()
		if got, beat := wait.take(); len(got) != 0 || beat.State != Active || beat.Checkpoint != "" {
			t.Errorf("the stream that waits has %s, heartbeat %+v", short(got), beat)
		}
		one := s.read(t, "subscriber=b&table=db.a&from=shop@log1:3")
		two := s.read(t, "subscriber=b&table=db.b&from=shop@log1:4")
		if got, _ := one.take(); short(got) != "4.1 a 3, 4, 5.1 a 4, 5" {
			t.Errorf("one has %s", short(got))
		}
		if got, _ := two.take(); short(got) != "5.2 b 4, 5" {
			t.Errorf("two has %s", short(got))
		}
		c := s.read(t, "subscriber=c&from=end&timeout=1h")
		one.close()
		wait.close()
		if _, beat := c.take(); beat.State != Waiting {
			t.Error("c became active while b has a stream")
		}
		two.close()
		if _, beat := c.take(); beat.State != Active {
			t.Error("c is not active, and b has no stream")
		}
	})
}

func TestASubscriberThatTimedOutLosesAllItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := serve(t, ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		one, two := s.read(t, "subscriber=a&timeout=1s"), s.read(t, "subscriber=a")
		time.Sleep(time.Second)
		for _, r := range []*reader{one, two} {
			if r.ended() == nil {
				t.Error("a stream goes on")
			}
		}
		again := s.read(t, "subscriber=a&timeout=1s")
		if _, beat := again.take(); beat.State != Active {
			t.Errorf("the subscriber cannot come again: %+v", beat)
		}
		if n := strings.Count(log.String(), "no sign of life"); n != 2 {
			t.Errorf("log:\n%s", &log)
		}
	})
}

func TestStreamsEndWithTheContextOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://drc/topics/shop/records", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		cancel()
		synctest.Wait()
		if info := s.topics["shop"].info(); info.Active != "" {
			t.Errorf("the subscriber is still there: %+v", info)
		}
	})
}

// Its last write may take a while to end. Until then it is not active again, and nobody else is.
func TestASubscriberThatTimedOutComesAgainAsAnotherOneThatWaits(t *testing.T) {
	topic := newTopic("shop", "log1", 10)
	subscriber := func() *subscriber {
		return &subscriber{name: "a", turn: make(chan struct{}), timer: time.NewTimer(time.Hour)}
	}
	old, again := &stream{topic: topic, cancel: func(error) {}}, &stream{topic: topic}
	topic.join("a", old, subscriber)
	topic.expire(old.subscriber)
	topic.join("a", again, subscriber)
	if v, err := topic.view(again); v.state != Waiting || err != nil {
		t.Errorf("it is %s while its old stream has not ended: %v", v.state, err)
	}
	topic.leave(old)
	if v, err := topic.view(again); v.state != Active || err != nil {
		t.Errorf("it is %s after its old stream has ended: %v", v.state, err)
	}
}
