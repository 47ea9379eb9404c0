// Virtual time: synctest bubbles and pipes.

package kafkanet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rig is a Dialer, and the other ends of its connections.
type rig struct {
	*Dialer

	log *lines
	far chan net.Conn
	err map[string]error // of dials
}

type lines struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.out.String(), text)
}

func newRig(t *testing.T, brokers ...string) *rig {
	t.Helper()
	r := &rig{log: &lines{}, far: make(chan net.Conn, 10), err: make(map[string]error)}
	r.Dialer = New(Config{
		Brokers: brokers, MaxWait: 500 * time.Millisecond, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			if err := r.err[address]; err != nil {
				return nil, err
			}
			near, far := net.Pipe()
			r.far <- far
			return near, nil
		},
	})
	t.Cleanup(r.Close)
	return r
}

func (r *rig) dial(t *testing.T, network, address string) (near, far net.Conn) {
	t.Helper()
	near, err := r.DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	far = <-r.far
	go func() { _, _ = io.Copy(io.Discard, far) }()
	return near, far
}

// request writes a request in pieces of that many bytes.
func request(t *testing.T, c net.Conn, key step, piece int) {
	t.Helper()
	frame := binary.BigEndian.AppendUint32(nil, 20)
	frame = binary.BigEndian.AppendUint16(frame, uint16(key)) //nolint:gosec // a key
	for frame = append(frame, make([]byte, 18)...); len(frame) > 0; {
		n := min(piece, len(frame))
		if _, err := c.Write(frame[:n]); err != nil {
			t.Fatal(err)
		}
		frame = frame[n:]
	}
}

// answer sends an answer in pieces, and receives it.
func answer(t *testing.T, near, far net.Conn, piece int) {
	t.Helper()
	frame := append([]byte{0, 0, 0, 12}, make([]byte, 12)...)
	go func() {
		for b := frame; len(b) > 0; b = b[min(piece, len(b)):] {
			_, _ = far.Write(b[:min(piece, len(b))])
		}
	}()
	if _, err := io.ReadFull(near, make([]byte, len(frame))); err != nil {
		t.Fatal(err)
	}
}

// The frames are followed however they are cut.
func TestStepOfASilentBrokerIsTheRequestThatWaits(t *testing.T) {
	for _, piece := range []int{1, 2, 3, 4, 5, 6, 7, 23, 24, 100} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, "a:1")
			near, far := r.dial(t, "tcp", "a:1")
			for _, key := range []step{stepVersions, 3, 10} {
				request(t, near, key, piece)
				answer(t, near, far, piece)
			}
			time.Sleep(time.Hour) // nothing is asked
			if n := r.log.count("waiting"); n != 0 {
				t.Errorf("pieces of %d: %d lines of a connection that is idle", piece, n)
			}
			request(t, near, 9, piece)
			go func() { _, _ = near.Read(make([]byte, 1)) }()
			time.Sleep(patience)
			synctest.Wait()
			if n := r.log.count("step=OffsetFetch"); n != 1 || len(r.Waits()) != 1 {
				t.Errorf("pieces of %d: %d lines that OffsetFetch waits, want 1: %s", piece, n, r.log.out.String())
			}
		})
	}
}

// A broker may hold a fetch back, and a join until others have joined.
func TestWaitThatIsAllowedIsNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1")
		near, _ := r.dial(t, "tcp", "a:1")
		request(t, near, stepFetch, 100)
		time.Sleep(patience)
		synctest.Wait()
		if n := r.log.count("waiting"); n != 0 {
			t.Errorf("%d lines before MaxWait is over", n)
		}
		_ = near.Close()
		near, _ = r.dial(t, "tcp", "b:1")
		request(t, near, stepJoin, 100)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.log.count("level=INFO"); n != 1 || len(r.Waits()) != 0 {
			t.Errorf("%d lines of a join, want 1, and no trouble: %v", n, r.Waits())
		}
	})
}

func TestEndOfAConnectionIsNeverTheEndOfASource(t *testing.T) {
	for name, sent := range map[string]string{
		"at once": "", "in the length": "\x00\x00", "in the answer": "\x00\x00\x00\x10abc",
		"web server": "HTTP/1.1 400 Bad Request", "TLS": "\x15\x03\x03\x00\x02\x02\x0a", "banner": "SSH-2.0", "Redis": "-ERR unknown",
		"negative length": "\xff\xff\xff\xff", "short length": "\x00\x00\x00\x01",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, "a:1")
				near, far := r.dial(t, "tcp", "a:1")
				request(t, near, 3, 100)
				go func() { _, _ = io.WriteString(far, sent); _ = far.Close() }()
				_, err := io.Copy(io.Discard, near)
				if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "broker a:1: Metadata: ") {
					t.Errorf("Read = %v, want an error with address and step that is not io.EOF", err)
				}
				want := map[string]error{"web server": ErrHTTP, "TLS": ErrTLS, "banner": ErrForeign, "Redis": ErrForeign, "negative length": ErrForeign, "short length": ErrForeign}[name]
				if want == nil {
					want = io.ErrUnexpectedEOF
				}
				if !errors.Is(err, want) {
					t.Errorf("Read = %v, want %v", err, want)
				}
			})
		})
	}
}

// The handshake has a bound even where the library has none.
func TestSilentHandshakeEnds(t *testing.T) {
	for _, key := range []step{stepVersions, stepSASL, stepAuthenticate} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, "a:1")
			near, _ := r.dial(t, "tcp", "a:1")
			request(t, near, key, 100)
			began := time.Now()
			_, err := near.Read(make([]byte, 1))
			if d := time.Since(began); d != HandshakeTimeout || !strings.Contains(err.Error(), "no answer within 5s") {
				t.Errorf("Read = %v after %v", err, d)
			}
		})
	}
}

func TestBootstrapPrefersTheBrokerThatAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1", "b:1", "c:1")
		skipped := func(address string) bool {
			c, err := r.DialContext(t.Context(), Bootstrap, address)
			if err == nil {
				<-r.far
				_ = c.Close()
			}
			return err != nil
		}
		check := func(want string) {
			t.Helper()
			got := ""
			for _, b := range r.cfg.Brokers {
				if !skipped(b) {
					got += b[:1]
				}
			}
			if got != want {
				t.Errorf("brokers %s are tried, want %s", got, want)
			}
		}
		check("abc") // nothing is known
		near, far := r.dial(t, "tcp", "b:1")
		request(t, near, 3, 100)
		answer(t, near, far, 100)
		check("b")
		request(t, near, 3, 100)
		time.Sleep(2 * patience) // it is silent now
		check("ac")
		for _, address := range []string{"a:1", "c:1"} {
			time.Sleep(time.Second)
			r.err[address] = errors.New("refused")
			_, _ = r.DialContext(t.Context(), "tcp", address)
		}
		check("b") // all have failed, b first
		answer(t, near, far, 100)
		check("b")
		_ = near.Close()
	})
}

func TestCloseEndsEveryWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "a:1")
		near, _ := r.dial(t, "tcp", "a:1")
		hang := New(Config{Brokers: []string{"a:1"}, Log: slog.New(slog.DiscardHandler), Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done() // the last thing that it looks at
			return nil, ctx.Err()
		}})
		began := time.Now()
		var waits sync.WaitGroup
		waits.Go(func() { _, _ = near.Read(make([]byte, 1)) })
		waits.Go(func() { _, _ = hang.DialContext(t.Context(), "tcp", "a:1") })
		time.Sleep(time.Second)
		r.Close()
		hang.Close()
		waits.Wait()
		if d := time.Since(began); d != time.Second {
			t.Errorf("they waited %v", d)
		}
		if _, err := r.DialContext(t.Context(), "tcp", "a:1"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("DialContext after Close = %v", err)
		}
	})
}
