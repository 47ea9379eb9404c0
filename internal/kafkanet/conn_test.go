// Virtual time: synctest bubbles and pipes.

package kafkanet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A silence that is over does not hide the next one on the same connection. A join is long and no trouble.
func TestSecondSilenceOfAConnectionIsLoggedInTime(t *testing.T) {
	for name, first := range map[string]step{"request": 3, "join": stepJoin} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, "a:1")
				near, far := r.dial(t, "tcp", "a:1")
				request(t, near, first, 100)
				time.Sleep(patience + patience/2)
				answer(t, near, far, 100)
				for range 7 { // long enough to count as recovered
					time.Sleep(time.Second)
					request(t, near, 3, 100)
					answer(t, near, far, 100)
				}
				request(t, near, 12, 100)
				time.Sleep(2 * patience)
				synctest.Wait()
				if n := r.log.count("step=Heartbeat"); n != 1 || len(r.Waits()) != 1 {
					t.Errorf("%d lines that Heartbeat waits, want 1: %s", n, r.log.out.String())
				}
			})
		})
	}
}

// A join waits for others. It hides no request without an answer, and does not keep the broker from recovering.
func TestJoinHidesNoSilentRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1")
		fetches, far := r.dial(t, "tcp", "a:1")
		joins, _ := r.dial(t, "tcp", "a:1")
		request(t, fetches, stepFetch, 100)
		time.Sleep(time.Second)
		request(t, joins, stepJoin, 100)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if w := r.Waits(); len(w) != 1 || w[0].Step != "Fetch" {
			t.Errorf("waits = %v, want Fetch", w)
		}
		answer(t, fetches, far, 100)
		for range 7 {
			time.Sleep(time.Second)
			request(t, fetches, stepFetch, 100)
			answer(t, fetches, far, 100)
		}
		if n := r.log.count("answers again"); n != 1 || len(r.Waits()) != 0 {
			t.Errorf("%d lines that it answers again, want 1; waits = %v", n, r.Waits())
		}
	})
}

// Close may come while a connection is made. The race detector looks on.
func TestCloseWhileAConnectionIsMadeClosesIt(t *testing.T) {
	for range 100 {
		near, far := net.Pipe()
		var d *Dialer
		d = New(Config{Brokers: []string{"a:1"}, Log: slog.New(slog.DiscardHandler), Dial: func(context.Context, string, string) (net.Conn, error) {
			go d.Close()
			return near, nil
		}})
		if c, err := d.DialContext(t.Context(), "tcp", "a:1"); err == nil {
			_ = c.Close()
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("Read of the other end = %v, want the end", err)
		}
	}
}

// The library reports the error of the address that it tried last. That is a cause, also if this address was skipped.
func TestSkippedBrokerReportsTheLastFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1", "b:1", "c:1")
		for _, address := range r.cfg.Brokers {
			r.err[address] = errors.New("no route to host")
			_, _ = r.DialContext(t.Context(), "tcp", address)
			time.Sleep(time.Millisecond)
		}
		var err error
		for _, address := range []string{"b:1", "a:1", "c:1"} { // b and c are skipped
			_, err = r.DialContext(t.Context(), Bootstrap, address)
			time.Sleep(time.Millisecond)
		}
		if !strings.Contains(err.Error(), "broker a:1: connect: no route to host") {
			t.Errorf("DialContext = %v, want the failure of a", err)
		}
	})
}

// A stopping broker disconnects in any step. That refuses no credentials which have been accepted before.
func TestDisconnectInTheLoginRefusesOnlyCredentialsThatWereNeverAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1", "b:1")
		login := func() error {
			near, far := r.dial(t, "tcp", "b:1")
			request(t, near, stepAuthenticate, 100)
			_ = far.Close()
			_, err := near.Read(make([]byte, 1))
			_ = near.Close()
			return err
		}
		if err := login(); err != io.EOF { //nolint:errorlint // as the library wants it
			t.Errorf("Read = %v, want io.EOF", err)
		}
		near, far := r.dial(t, "tcp", "a:1")
		for _, key := range []step{stepAuthenticate, 3} {
			request(t, near, key, 100)
			answer(t, near, far, 100)
		}
		if err := login(); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "broker b:1: SaslAuthenticate: the broker disconnected") {
			t.Errorf("Read = %v, want that the broker disconnected", err)
		}
	})
}

// The hint at the addresses of the cluster is for errors that another address heals. Descriptors are another matter.
func TestConnectErrorSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		err        error
		want, none string
	}{
		"refused":     {syscall.ECONNREFUSED, "advertised.listeners", "ulimit"},
		"descriptors": {&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}, "ulimit -n", "advertised.listeners"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "a:1")
			r.err["b:1"] = c.err
			_, err := r.DialContext(t.Context(), "tcp", "b:1")
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), c.none) {
				t.Errorf("DialContext = %v, want it to say %q", err, c.want)
			}
		})
	}
}

// The caller may wait for less than the handshake timeout. The error says how long that was, and the cause stays.
func TestErrorOfAShortWaitSaysHowLongItWas(t *testing.T) {
	for name, dial := range map[string]func(context.Context) error{
		"hangs": func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Second); return nil },
		"tells a cause": func(ctx context.Context) error {
			<-ctx.Done()
			return &net.DNSError{Err: "i/o timeout", Name: "kafka", IsTimeout: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := New(Config{Brokers: []string{"kafka:1"}, Log: slog.New(slog.DiscardHandler), Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					near, _ := net.Pipe()
					return near, dial(ctx)
				}})
				defer d.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				_, err := d.DialContext(ctx, "tcp", "kafka:1")
				time.Sleep(time.Minute) // the end of Dial
				if want := map[string]string{"hangs": "no answer within 1.5s", "tells a cause": "lookup kafka: i/o timeout"}[name]; !strings.Contains(err.Error(), want) {
					t.Errorf("DialContext = %v, want %q", err, want)
				}
			})
		})
	}
}

// A request and its answer cost no allocation.
func TestFollowingRequestsAllocatesNothing(t *testing.T) {
	d := New(Config{Brokers: []string{"a:1"}, Log: slog.New(slog.DiscardHandler), Dial: func(context.Context, string, string) (net.Conn, error) {
		return echo{}, nil
	}})
	defer d.Close()
	c, err := d.DialContext(t.Context(), "tcp", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	frame := append([]byte{0, 0, 0, 60, 0, 1, 0, 0, 0, 1, 0, 0}, make([]byte, 52)...) // as an answer it has the same correlation id
	if n := testing.AllocsPerRun(1000, func() {
		_, _ = c.Write(frame)
		_, _ = c.Read(frame[:64])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_ = c.Close()
}

// echo is a connection whose every Read fills the buffer.
type echo struct{ net.Conn }

func (echo) Read(b []byte) (int, error)  { return len(b), nil }
func (echo) Write(b []byte) (int, error) { return len(b), nil }
func (echo) Close() error                { return nil }

// Config.Dial may return a connection without deadlines, such as one through SSH. A request over it is ended all the same.
func TestConnectionWithoutDeadlinesIsClosedAtOneThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		d := New(Config{Brokers: []string{"a:1"}, Log: slog.New(slog.DiscardHandler), Dial: func(context.Context, string, string) (net.Conn, error) {
			return timeless{near}, nil
		}})
		defer d.Close()
		c, err := d.DialContext(t.Context(), "tcp", "a:1")
		if err != nil {
			t.Fatal(err)
		}
		request(t, c, 3, 100)
		ended := make(chan error, 1)
		go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
		time.Sleep(time.Second)
		_ = c.SetDeadline(time.Now().Add(time.Hour)) // cannot be kept
		_ = c.SetDeadline(time.Time{})
		synctest.Wait()
		select {
		case err := <-ended:
			t.Errorf("Read = %v before the deadline", err)
		default:
		}
		_ = c.SetDeadline(time.Unix(1, 0))
		synctest.Wait()
		select {
		case err := <-ended:
			if err == nil {
				t.Error("Read has succeeded")
			}
		default:
			t.Error("Read goes on")
		}
	})
}

type timeless struct{ net.Conn }

func (timeless) SetDeadline(time.Time) error { return errors.New("deadline not supported") }

// A port may send bytes so slowly that no answer is complete in time.
func TestBrokerThatDripsIsLoggedWithItsStep(t *testing.T) {
	for _, key := range []step{stepVersions, stepSASL, stepAuthenticate, 3, stepFetch} {
		for _, pause := range []time.Duration{10 * time.Millisecond, 300 * time.Millisecond, time.Second} {
			t.Run(fmt.Sprintf("%v every %v", key, pause), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, "a:1")
					near, far := r.dial(t, "tcp", "a:1")
					request(t, near, key, 100)
					var dripping sync.WaitGroup
					defer dripping.Wait()
					defer near.Close()
					dripping.Go(func() {
						for n := 0; ; n++ {
							b := []byte{0}
							if n == 2 {
								b[0] = 100 // of 25,600 bytes
							}
							if _, err := far.Write(b); err != nil {
								return
							}
							time.Sleep(pause)
						}
					})
					go func() { _, _ = io.Copy(io.Discard, near) }()
					time.Sleep(2 * time.Second)
					if n := r.log.count("waiting for Kafka"); n != 1 || r.log.count(key.String()) != 1 || len(r.Waits()) != 1 {
						t.Errorf("%d lines, %d with the step, waits %v; want 1 of each", n, r.log.count(key.String()), r.Waits())
					}
				})
			})
		}
	}
}

func TestAnswerThatTakesLongIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1")
		near, far := r.dial(t, "tcp", "a:1")
		request(t, near, stepFetch, 100)
		go func() {
			_, _ = far.Write([]byte{0, 1, 0, 0})
			for range 64 {
				time.Sleep(500 * time.Millisecond)
				_, _ = far.Write(make([]byte, 1<<10))
			}
		}()
		if _, err := io.ReadFull(near, make([]byte, 4+1<<16)); err != nil || r.log.count("") != 1 {
			t.Errorf("%v, log: %s", err, r.log.out.String())
		}
	})
}

// A bootstrap connection waits for a silent broker only where no other one is left.
func TestBootstrapGivesUpASilentBrokerForAnother(t *testing.T) {
	for _, kind := range []string{"connect", "TLS handshake", "ApiVersions"} {
		for brokers, want := range map[string]time.Duration{
			"silent:1":                HandshakeTimeout,
			"silent:1,untried:1":      firstTimeout,
			"silent:1,refusing:1":     HandshakeTimeout,
			"refusing:1,silent:1,c:1": firstTimeout,
		} {
			t.Run(kind+" "+brokers, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := &lines{}
					cfg := Config{Brokers: strings.Split(brokers, ","), Log: slog.New(slog.NewTextHandler(log, nil))}
					cfg.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
						switch {
						case address != "silent:1":
							return nil, errors.New("refused")
						case kind == "connect":
							<-ctx.Done()
							return nil, ctx.Err()
						}
						near, far := net.Pipe()
						go func() { _, _ = io.Copy(io.Discard, far); _ = far.Close() }()
						return near, nil
					}
					if kind == "TLS handshake" {
						cfg.TLS = &tls.Config{}
					}
					d := New(cfg)
					defer d.Close()
					if strings.Contains(brokers, "refusing:1") {
						_, _ = d.DialContext(t.Context(), "tcp", "refusing:1")
					}
					began := time.Now()
					c, err := d.DialContext(t.Context(), Bootstrap, "silent:1")
					if kind == "ApiVersions" {
						request(t, c, stepVersions, 100)
						_, err = c.Read(make([]byte, 1))
						_ = c.Close()
					}
					if took := time.Since(began); err == nil || took > want || took < want/2 {
						t.Errorf("%v after %v, want an error after %v", err, took, want)
					}
					if log.count("waiting for Kafka") != 1 || log.count(kind) != 1 {
						t.Errorf("log: %s", log.out.String())
					}
				})
			})
		}
	}
}

// The first answer shows whether the other side speaks Kafka's protocol: its length, and the correlation id of the request. The
// library waits for the rest of an answer that is none, so the connection ends.
func TestAnswerInAnotherProtocolEndsTheConnection(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		want error
	}{
		"web server":           {"HTTP/1.1 400 Bad Request\r\n", ErrHTTP},
		"TLS alert":            {"\x15\x03\x03\x00\x02\x02\x46", ErrTLS},
		"banner":               {"SSH-2.0-OpenSSH_9.6\r\n", ErrForeign},
		"four bytes":           {"+OK\n", ErrForeign},
		"negative length":      {"\xff\xff\xff\xff", ErrForeign},
		"empty answer":         {"\x00\x00\x00\x00", ErrForeign},
		"echo of the request":  {"\x00\x00\x00\x14\x00\x03\x00\x00\x00\x00\x00\x00", ErrForeign},
		"other correlation id": {"\x00\x00\x00\x0a\x11\x22\x33\x44abcdef", ErrForeign},
		"text as a length":     {"\x06\x00\x00\x00aaaaaaaaaaaa", ErrForeign},
		"an answer":            {"\x00\x00\x00\x08\x00\x00\x00\x00aaaa", nil},
	} {
		for _, piece := range []int{1, 3, 100} {
			t.Run(fmt.Sprintf("%s/%d", name, piece), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, "a:1")
					near, far := r.dial(t, "tcp", "a:1")
					request(t, near, 3, piece)
					_ = near.SetReadDeadline(time.Now().Add(time.Minute))
					go func() {
						for b := []byte(c.says); len(b) > 0; b = b[min(piece, len(b)):] {
							_, _ = far.Write(b[:min(piece, len(b))])
						}
					}()
					_, err := io.ReadFull(near, make([]byte, len(c.says)))
					if !errors.Is(err, c.want) || c.want == nil && err != nil {
						t.Fatalf("Read = %v, want %v", err, c.want)
					}
					if c.want == nil {
						return
					}
					if _, err := near.Read(make([]byte, 100)); !errors.Is(err, c.want) {
						t.Errorf("the next Read = %v, want %v at once", err, c.want)
					}
				})
			})
		}
	}
}
