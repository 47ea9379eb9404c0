package pulsar

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
)

// What the library writes is the only notice that a connection goes.
func TestHookCannotTakeTheLoggerAway(t *testing.T) {
	s, err := New("pulsar://fake:6650", "billing", []string{"orders"}, Config{Client: func(o *pulsar.ClientOptions) {
		o.Logger = log.NewLoggerWithSlog(slog.New(slog.DiscardHandler))
		o.ListenerName = "inside"
	}})
	if err != nil {
		t.Fatal(err)
	}
	o := s.options()
	if _, ours := o.Logger.(line); !ours {
		t.Errorf("the library writes to a %T", o.Logger)
	}
	if o.ListenerName != "inside" {
		t.Error("the hook counts for nothing")
	}
}

func TestTopicIsGivenTwiceWhateverItsNameIs(t *testing.T) {
	for _, c := range []struct {
		other string
		twice bool
	}{
		{"persistent://public/default/orders", true},
		{"public/default/orders", true},
		{"public/other/orders", false},
		{"orders-2", false},
	} {
		_, err := New("pulsar://fake:6650", "billing", []string{"orders", c.other}, Config{})
		if twice := err != nil && strings.Contains(err.Error(), "given twice"); twice != c.twice {
			t.Errorf("New with orders and %s = %v", c.other, err)
		}
	}
}

func TestCloseClosesTheClientThatIsBeingMade(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		s, c, err := b.source(Config{}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		connecting := make(chan struct{})
		s.connect = func() (client, error) {
			close(connecting)
			<-s.failed // by Close; no sleep, for who waits for a Once keeps the bubble's clock from going on
			return c, nil
		}
		accepted := make(chan error)
		go func() {
			_, err := s.Accept(t.Context())
			accepted <- err
		}()
		<-connecting
		if err := s.Close(); err != nil {
			t.Errorf("close = %v", err)
		}
		if err := <-accepted; !errors.Is(err, errClosed) {
			t.Errorf("accept = %v", err)
		}
		if c.mu.Lock(); !c.dead {
			t.Error("the client was not closed")
		}
		c.mu.Unlock()
	})
}
