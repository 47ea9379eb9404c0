package client

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// answerPatience is how long a broker may take to accept a connection before that is reported.
const answerPatience = time.Second

// ErrSilent is the error of a connection without an answer so far.
var ErrSilent = errors.New("no answer")

// attempt is the latest attempt to connect to an address.
type attempt struct {
	step  string
	timer *time.Timer
}

// address returns the host and port of the connection that a line is about, empty if it is about none.
func (l line) address() string {
	switch a := l.fields["remote_addr"].(type) {
	case *url.URL:
		return a.Host
	case nil:
		return ""
	default:
		return fmt.Sprint(a)
	}
}

// connecting records that an attempt has begun. It is reported if it has no result in time.
func (l line) connecting() {
	addr, a := l.address(), &attempt{step: "to the TCP or TLS handshake"}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.attempts == nil {
		return // closed
	}
	if old := l.attempts[addr]; old != nil {
		old.timer.Stop()
	}
	a.timer = time.AfterFunc(answerPatience, func() { l.silent(addr, a) })
	l.attempts[addr] = a
}

// established records that the broker has accepted the connection.
func (l line) established() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.attempts[l.address()]; a != nil {
		a.step = "to Pulsar's first command"
	}
}

func (l *Log) silent(addr string, a *attempt) {
	l.mu.Lock()
	err := fmt.Errorf("%w %s within %v", ErrSilent, a.step, answerPatience)
	late := l.attempts[addr] == a
	if late {
		l.last = cause{err: err}
		delete(l.hopeless, addr)
	}
	l.mu.Unlock()
	if late && l.On.Unreachable != nil {
		l.On.Unreachable(addr, err)
	}
}

// connected records a connection.
func (l line) connected() {
	l.heard(true, cause{})
	l.ended()
	if l.On.Connected != nil {
		l.On.Connected(l.address())
	}
}

// unreachable records why there is no connection.
func (l line) unreachable(c cause) {
	l.heard(false, c)
	l.ended()
	l.mu.Lock()
	if c.hopeless() {
		l.hopeless[l.address()] = true
	} else {
		delete(l.hopeless, l.address())
	}
	l.mu.Unlock()
	if l.On.Unreachable != nil {
		l.On.Unreachable(l.address(), c.reason())
	}
}

// Close forgets attempts, which are not reported any more.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.attempts {
		a.timer.Stop()
	}
	l.attempts = nil
}

// ended removes an attempt that has a result.
func (l line) ended() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.attempts[l.address()]; a != nil {
		a.timer.Stop()
		delete(l.attempts, l.address())
	}
}
