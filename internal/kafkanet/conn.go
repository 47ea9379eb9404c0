package kafkanet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// conn is a connection that knows which request it waits for. It follows the frames of Kafka's protocol in both directions.
type conn struct {
	net.Conn

	peers     *peers
	address   string
	bootstrap bool // a bootstrap connection: another broker will do
	maxWait   time.Duration

	mu      sync.Mutex
	stop    func() bool // ends the wait for Close of the Dialer
	out, in frame
	first   []byte    // correlation id of the first request; its answer begins with it
	pending int       // requests without a complete answer
	step    step      // of the last request
	since   time.Time // when the request was sent
	active  time.Time // when a request was sent, an answer complete, or leastProgress bytes of it received
	some    int       // bytes received since then
	timer   *time.Timer
	armed   bool
	late    bool
	known   bool // the other side speaks Kafka's protocol: it has answered
	closed  bool
	failed  error // why the connection was closed from here
}

// Write implements [net.Conn].
func (c *conn) Write(b []byte) (int, error) {
	c.sends(b)
	n, err := c.Conn.Write(b)
	if err != nil {
		return n, c.explain(err)
	}
	return n, nil
}

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		if foreign := c.received(b[:n]); foreign != nil {
			_ = c.Conn.Close() // the library would wait for the rest of an answer
			return 0, c.explain(foreign)
		}
	}
	if err != nil {
		return n, c.explain(err)
	}
	return n, nil
}

// SetDeadline implements [net.Conn]. A deadline that is over ends a request: it closes a connection that has no deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	err := c.Conn.SetDeadline(t)
	if err != nil && !t.IsZero() && !t.After(time.Now()) {
		return c.Close()
	}
	return err
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.mu.Lock()
	c.stop()
	if c.timer != nil {
		c.timer.Stop()
	}
	late := c.late
	c.late, c.closed = false, true
	c.mu.Unlock()
	if late {
		c.peers.gaveUp(c.address, c)
	}
	return c.Conn.Close()
}

// sends follows the requests.
func (c *conn) sends(b []byte) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = now
	for len(b) > 0 {
		begun, want := c.out.begun(), 6 // length and API key
		if c.first == nil {
			want = 12 // and version, correlation id
		}
		b = c.out.next(b, want)
		if !begun && c.out.begun() {
			if c.first == nil {
				c.first = bytes.Clone(c.out.head[8:])
			}
			c.pending++
			c.step, c.since = step(binary.BigEndian.Uint16(c.out.head[4:])), now
		}
		c.out.end()
	}
	switch {
	case c.pending == 0 || c.armed:
	case c.timer == nil:
		c.armed, c.timer = true, time.AfterFunc(c.step.patience(c.maxWait), c.look)
	default:
		c.armed = true
		c.timer.Reset(c.step.patience(c.maxWait))
	}
}

// received follows the answers. It returns an error if the bytes are not in Kafka's protocol.
func (c *conn) received(b []byte) error {
	c.mu.Lock()
	done := false
	c.some += len(b)
	for len(b) > 0 {
		want := 4 // length
		if !c.known {
			want = 8 // and correlation id
		}
		b = c.in.next(b, want)
		if !c.known {
			if err := foreign(c.in.head[:c.in.size], c.first); err != nil {
				c.failed = err
				c.mu.Unlock()
				return err
			}
			c.known = c.in.begun()
		}
		if c.in.end() {
			c.pending = max(c.pending-1, 0)
			done = true
		}
	}
	late := false
	if done || c.some >= leastProgress {
		c.active, c.some = time.Now(), 0
		if late, c.late = c.late, false; late {
			c.timer.Reset(patience) // the next silence is another one
		}
	}
	step := c.step
	c.mu.Unlock()
	if late {
		c.peers.gaveUp(c.address, c)
	}
	if done {
		c.peers.answered(c.address, step)
	}
	return nil
}

// look is called by the timer. It reports a broker that does not answer.
func (c *conn) look() {
	c.mu.Lock()
	if c.pending == 0 || c.closed {
		c.armed = false
		c.mu.Unlock()
		return
	}
	now := time.Now()
	step, since := c.step, c.since
	rest := step.patience(c.maxWait) - now.Sub(c.active)
	if silent := rest <= 0; silent {
		c.late, rest = true, repeat
	}
	over := false
	if step.rank() < ready { // the library has no timeout for each of them
		left := HandshakeTimeout - now.Sub(since)
		over, rest = left <= 0, min(rest, max(left, 0))
	}
	late := c.late
	if over {
		c.failed = fmt.Errorf("no answer within %v", HandshakeTimeout)
	} else {
		c.timer.Reset(rest)
	}
	c.mu.Unlock()
	if late {
		c.peers.late(context.Background(), c.address, c, step, since)
		c.mu.Lock()
		late = c.late
		c.mu.Unlock()
		switch {
		case !late: // answered or closed meanwhile
			c.peers.gaveUp(c.address, c)
		case !over && c.bootstrap && step.rank() < ready && c.peers.others(c.address):
			over = true
			c.mu.Lock()
			c.failed = fmt.Errorf("no answer within %v; trying another broker", patience)
			c.mu.Unlock()
		}
	}
	if over {
		_ = c.Close()
	}
}

// explain adds address and step to an error of the connection.
func (c *conn) explain(err error) error {
	c.mu.Lock()
	step, waits := c.step, c.pending > 0
	if c.failed != nil {
		err = c.failed
	}
	c.mu.Unlock()
	if !waits {
		step = stepIdle
	}
	if step == stepAuthenticate && err == io.EOF && !c.peers.used.Load() { //nolint:errorlint // the library takes it for refused credentials
		return err
	}
	failed := &Error{Address: c.address, Step: step, Err: ended(err)}
	if waits && !isClosed(err) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.peers.failed(failed)
	}
	return failed
}

// frame is the position in a length-prefixed message.
type frame struct {
	head [12]byte
	size int // bytes of head that are known
	want int // bytes of head that begin a frame
	left int64
}

// begun reports whether the head is complete.
func (f *frame) begun() bool { return f.want > 0 && f.size == f.want }

// end begins a new frame if the last one is complete, and reports whether it was.
func (f *frame) end() bool {
	over := f.begun() && f.left == 0
	if over {
		*f = frame{}
	}
	return over
}

// next consumes bytes of one frame, whose head has want bytes, and returns those behind them.
func (f *frame) next(b []byte, want int) []byte {
	if f.size == 0 {
		f.want = want
	}
	if f.size < f.want {
		n := copy(f.head[f.size:f.want], b)
		f.size += n
		if f.size == f.want {
			f.left = max(int64(binary.BigEndian.Uint32(f.head[:4]))-int64(f.want-4), 0)
		}
		return b[n:]
	}
	n := min(int64(len(b)), f.left)
	f.left -= n
	return b[n:]
}

// leastProgress is how many bytes of an answer a broker sends within the time that it may be silent. One that sends fewer is as
// good as silent.
const leastProgress = 1000

// maxAnswer is above the length of any first answer on a connection.
const maxAnswer = 128 << 20

// foreign returns an error if the first bytes of the first answer are not its length and the correlation id of the request.
func foreign(head, id []byte) error {
	if len(head) < 4 {
		return nil
	}
	switch size := binary.BigEndian.Uint32(head); {
	case string(head[:4]) == "HTTP":
		return ErrHTTP
	case isTLS(head):
		return ErrTLS
	case size < 4 || size > maxAnswer, len(head) >= 8 && !bytes.Equal(head[4:8], id):
		return fmt.Errorf("%w: it begins with %q", ErrForeign, head)
	}
	return nil
}

// isTLS reports whether bytes begin a record of TLS.
func isTLS(head []byte) bool {
	return len(head) >= 2 && head[0] >= 0x14 && head[0] <= 0x17 && head[1] == 3
}
