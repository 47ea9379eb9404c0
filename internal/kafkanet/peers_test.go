// Virtual time: synctest bubbles and pipes.

package kafkanet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// However many connections wait for a broker, there is one line at once, and one each minute.
func TestSilenceOfABrokerIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1")
		for range 3 {
			near, _ := r.dial(t, "tcp", "a:1")
			request(t, near, 3, 100)
			time.Sleep(100 * time.Millisecond)
		}
		for minute := range 4 {
			time.Sleep(2 * patience)
			synctest.Wait()
			if n := r.log.count("waiting for Kafka\" address=a:1 step=Metadata"); n != minute+1 {
				t.Errorf("%d lines after %d minutes, want %d", n, minute, minute+1)
			}
			time.Sleep(repeat - 2*patience)
		}
	})
}

// A broker that answers now and then is one silence. It is over when all is answered for some time, and that is logged once.
func TestBrokerRecoversOnceItAnswersForSomeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1")
		near, far := r.dial(t, "tcp", "a:1")
		silence := func(d time.Duration) {
			request(t, near, 3, 100)
			time.Sleep(d)
			synctest.Wait()
			answer(t, near, far, 100)
			synctest.Wait()
		}
		for range 3 {
			silence(2 * patience)
			time.Sleep(settled / 2)
			silence(0)
		}
		if waits, again := r.log.count("waiting for Kafka"), r.log.count("answers again"); waits != 1 || again != 0 || len(r.Waits()) != 1 {
			t.Errorf("%d lines that it waits, %d that it answers, waits %v; want 1, 0, and one", waits, again, r.Waits())
		}
		for range 3 {
			time.Sleep(settled)
			silence(0)
		}
		if again := r.log.count("answers again"); again != 1 || len(r.Waits()) != 0 {
			t.Errorf("%d lines that it answers again, waits %v; want 1 and none", again, r.Waits())
		}
	})
}

// Config.Dial, a proxy for example, may wrap io.EOF. No error of a connection is the end of a source.
func TestErrorOfADialIsNeverTheEndOfASource(t *testing.T) {
	for name, err := range map[string]error{"bare": io.EOF, "wrapped": fmt.Errorf("proxy: %w", io.EOF), "joined": errors.Join(errors.New("proxy"), io.EOF)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "a:1")
			r.err["a:1"] = err
			_, got := r.DialContext(t.Context(), "tcp", "a:1")
			if errors.Is(got, io.EOF) || !errors.Is(got, io.ErrUnexpectedEOF) {
				t.Errorf("DialContext = %v, want an error that wraps io.ErrUnexpectedEOF and not io.EOF", got)
			}
		})
	}
}

// Brokers close connections that are idle (connections.max.idle.ms). That is no reason to try another one first.
func TestEndOfAnIdleConnectionIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1", "b:1")
		near, far := r.dial(t, Bootstrap, "a:1")
		request(t, near, 3, 100)
		answer(t, near, far, 100)
		_ = far.Close()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Read = %v, want that the broker disconnected", err)
		}
		r.dial(t, Bootstrap, "a:1") // fails if b:1 is tried first
	})
}

// A Dial that ignores its ctx is abandoned in time, and the connection that it returns later is closed.
func TestDialThatIgnoresItsContextIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1")
		let := make(chan struct{})
		near, far := net.Pipe()
		r.cfg.Dial = func(context.Context, string, string) (net.Conn, error) { <-let; return near, nil }
		began := time.Now()
		if _, err := r.DialContext(t.Context(), "tcp", "a:1"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > HandshakeTimeout+time.Second {
			t.Errorf("DialContext = %v after %v, want that time is up", err, time.Since(began))
		}
		close(let)
		synctest.Wait()
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("Read at the other end = %v, want that the connection is closed", err)
		}
	})
}

// Bytes of an answer may come while the connection is closed for its silence.
func TestLateBytesDoNotHideWhyAConnectionWasClosed(t *testing.T) {
	r := newRig(t, "a:1")
	near, _ := r.dial(t, "tcp", "a:1")
	request(t, near, stepVersions, 100)
	c, _ := near.(*conn)
	c.mu.Lock()
	c.failed = errNoAnswer
	c.mu.Unlock()
	if err := c.received([]byte{0, 0}); err != nil {
		t.Fatal(err)
	}
	if err := c.explain(net.ErrClosed); !errors.Is(err, errNoAnswer) {
		t.Errorf("the error is %v, want that there was no answer", err)
	}
}
