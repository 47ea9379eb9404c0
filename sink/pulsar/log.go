package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

// troubles remembers the reason of the library's last failed connection. The library's error is only "connection error"; its
// log has the reason.
//
// It logs that reason at once, every minute while it lasts, and that the connection recovered: the library retries for long
// before it returns an error.
type troubles struct {
	last atomic.Pointer[trouble]
	log  *slog.Logger // nil: none

	mu     sync.Mutex
	closed bool
	logged map[string]time.Time   // when the failure of an address was last logged
	begun  map[string]*time.Timer // attempts without a result
}

// answerPatience is how long a broker may take to answer before that is logged.
const answerPatience = time.Second

// begin records an attempt to connect.
func (t *troubles) begin(addr string) {
	t.end(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if t.begun == nil {
		t.begun = make(map[string]*time.Timer)
	}
	var timer *time.Timer
	timer = time.AfterFunc(answerPatience, func() {
		t.mu.Lock()
		late := t.begun[addr] == timer
		delete(t.begun, addr)
		t.mu.Unlock()
		if late {
			t.fails(addr, errSilent)
		}
	})
	t.begun[addr] = timer
}

// errSilent is the error of a connection without an answer so far.
var errSilent = fmt.Errorf("no answer within %v", answerPatience)

// close forgets attempts, which are not logged any more.
func (t *troubles) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, timer := range t.begun {
		timer.Stop()
	}
	clear(t.begun)
}

// fails records and logs that there is no connection to an address.
func (t *troubles) fails(addr string, err error) {
	t.last.Store(&trouble{addr: addr, at: time.Now(), err: err})
	t.failed(addr, err)
}

// end records the result of an attempt.
func (t *troubles) end(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if timer := t.begun[addr]; timer != nil {
		timer.Stop()
		delete(t.begun, addr)
	}
}

// logAgain is how often a connection that goes on to fail is logged.
const logAgain = time.Minute

// failed logs that there is no connection to an address.
func (t *troubles) failed(addr string, err error) {
	now := time.Now()
	t.mu.Lock()
	at, was := t.logged[addr]
	news := !was || now.Sub(at) >= logAgain
	if news {
		if t.logged == nil {
			t.logged = make(map[string]time.Time)
		}
		t.logged[addr] = now
	}
	t.mu.Unlock()
	if news && t.log != nil {
		t.log.LogAttrs(context.Background(), slog.LevelWarn, "pulsar: connection failed; retrying", slog.String("broker", addr), slog.Any("error", err))
	}
}

// connected records and logs that an address has a connection again.
func (t *troubles) connected(addr string) {
	if last := t.last.Load(); last != nil && last.addr == addr {
		t.last.CompareAndSwap(last, nil)
	}
	t.mu.Lock()
	_, was := t.logged[addr]
	delete(t.logged, addr)
	t.mu.Unlock()
	if was && t.log != nil {
		t.log.LogAttrs(context.Background(), slog.LevelInfo, "pulsar: connection recovered", slog.String("broker", addr))
	}
}

type trouble struct {
	addr string
	at   time.Time
	err  error
}

// refusal is the error of a broker that refused the handshake.
type refusal struct{ text string }

// Error implements error.
func (r *refusal) Error() string { return "the broker refuses the connection: " + r.text }

// since returns the last reason if it is not older than start, else nil.
func (t *troubles) since(start time.Time) error {
	if l := t.last.Load(); l != nil && !l.at.Before(start) {
		return l.err
	}
	return nil
}

// note records the reason in a line of the library's log, if the line is about a failed connection.
func (t *troubles) note(addr, text string, cause error) {
	const refused = "Failed to establish connection with broker:"
	switch {
	case strings.HasPrefix(text, "Connecting to broker"):
		t.begin(addr)
		return
	case strings.HasPrefix(text, "Connection is ready"):
		t.end(addr)
		t.connected(addr)
		return
	case strings.HasPrefix(text, refused):
		cause = &refusal{strings.Trim(strings.TrimPrefix(text, refused), " '")}
	case strings.HasPrefix(text, "Failed to connect to broker"), strings.HasPrefix(text, "Failed to configure TLS"),
		strings.HasPrefix(text, "Failed to load auth credentials"):
	case strings.HasPrefix(text, "Failed to perform initial handshake"):
		cause = fmt.Errorf("handshake: %w (check whether the broker requires TLS)", orUnknown(cause))
	default:
		return
	}
	t.end(addr)
	t.fails(addr, orUnknown(cause))
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no reason given")
	}
	return err
}

// libraryLog is the logger of the client library. It logs the text and the error at level debug. It drops the other fields,
// because some contain user data.
type libraryLog struct {
	out      *slog.Logger
	troubles *troubles
	err      error
	addr     string // of the connection, empty if the line is about none
}

var (
	_ log.Logger = libraryLog{}
	_ log.Entry  = libraryLog{}
)

func (l libraryLog) tell(text string) {
	l.troubles.note(l.addr, text, l.err)
	attrs := []slog.Attr{slog.String("text", text)}
	if l.err != nil {
		attrs = append(attrs, slog.String("error", l.err.Error()))
	}
	l.out.LogAttrs(context.Background(), slog.LevelDebug, "pulsar: client library", attrs...)
}

// SubLogger implements log.Logger, as do the methods below. It keeps the address of a connection.
func (l libraryLog) SubLogger(fields log.Fields) log.Logger {
	if u, ok := fields["remote_addr"].(*url.URL); ok {
		l.addr = u.Host
	}
	return l
}

// WithFields drops the fields.
func (l libraryLog) WithFields(log.Fields) log.Entry { return l }

// WithField drops the field.
func (l libraryLog) WithField(string, any) log.Entry { return l }

// WithError keeps the error for the next line.
func (l libraryLog) WithError(err error) log.Entry { l.err = err; return l }

// Debug logs nothing. The library would log a line for each message.
func (l libraryLog) Debug(...any) {}

// Debugf logs nothing.
func (l libraryLog) Debugf(string, ...any) {}

// Info logs a line.
func (l libraryLog) Info(args ...any) { l.tell(fmt.Sprint(args...)) }

// Infof logs a line.
func (l libraryLog) Infof(format string, args ...any) { l.tell(fmt.Sprintf(format, args...)) }

// Warn logs a line.
func (l libraryLog) Warn(args ...any) { l.tell(fmt.Sprint(args...)) }

// Warnf logs a line.
func (l libraryLog) Warnf(format string, args ...any) { l.tell(fmt.Sprintf(format, args...)) }

// Error logs a line.
func (l libraryLog) Error(args ...any) { l.tell(fmt.Sprint(args...)) }

// Errorf logs a line.
func (l libraryLog) Errorf(format string, args ...any) { l.tell(fmt.Sprintf(format, args...)) }
