package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime"
	"strings"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"

	"github.com/keystrand/keystrand/internal/pulsarwire"
)

// Events are facts that the library reports only in its log. The first five functions are required. They are called on
// goroutines of the library and must not block.
type Events struct {
	// Disconnected: the connection of a consumer ends, or its topic is unloaded. The consumer itself does not know yet.
	Disconnected func(topic, subscription string)
	// Attached: the broker has attached a consumer or a candidate, also again. Later messages about it follow.
	Attached func(topic, subscription string)
	// Unknown: the broker has ended a consumer that the library does not know yet: one that is being attached.
	Unknown func()
	// EndOfTopic: the library closes a connection because some topic on it is terminated and read to its end.
	EndOfTopic func()
	// Deleted: the library has given up a consumer because its topic does not exist.
	Deleted func(topic string)
	// Connected: a connection to this address is ready. May be nil.
	Connected func(addr string)
	// Unreachable: there is no connection to this address, or no answer yet. It is repeated for each attempt. May be nil.
	Unreachable func(addr string, err error)
	// Unreadable: the library cannot read a message. It delivers no later message before the call returns. The library does not
	// acknowledge the message. A second call about it may follow, with the cause in full. May be nil: it is acknowledged.
	Unreadable func(topic, subscription string, ledger, entry int64, err error, full bool)
	// Dropped: the library gives up an incomplete message and is about to acknowledge one of its chunks. nil: it must not,
	// and does not.
	Dropped func(topic, line string)
}

// Log is the logger of the library. It turns lines into [Events], remembers why there is no connection, and forwards each
// line at level debug. A line that is missed costs a better error, or the time until the next look at the topics. Two are
// vital: every ownership depends on Disconnected, and a key sent as bytes on the frame that the library logs for each message,
// to which Log adds notes (package pulsarwire).
//
// A Log is safe for concurrent use.
type Log struct {
	On  Events // set before the first connection
	out *slog.Logger
	url string

	mu        sync.Mutex
	last      cause
	connected bool
	attempts  map[string]*attempt // to connect, by address; nil after Close
	hopeless  map[string]bool     // addresses of which the last attempt was hopeless
	damaged   map[string]damaged  // discarded and not explained yet, by the consumer's number
}

// cause is the last known reason for a missing connection.
type cause struct {
	refused string // answer of the broker
	err     error  // or error of the network
}

// reason returns the cause as an error.
func (c cause) reason() error {
	switch {
	case c.refused != "":
		return fmt.Errorf("the broker says %q", c.refused)
	case errors.Is(c.err, io.EOF), says(c.err, closedAtOnce, "unable to read frame: "): // the library keeps only its text
		return fmt.Errorf("%w: the other side closed the connection at once "+
			"(use the port of a broker, and a URL with or without TLS as it expects)", c.err)
	}
	return c.err
}

// closedAtOnce is in the library's error if the other side answers nothing.
const closedAtOnce = "unable to read frame size: EOF"

// NewLog returns a Log that forwards lines to out. url is the cluster's, for errors.
func NewLog(out *slog.Logger, url string, on Events) *Log {
	return &Log{
		On: on, out: out, url: url,
		attempts: make(map[string]*attempt), hopeless: make(map[string]bool), damaged: make(map[string]damaged),
	}
}

// Logger returns the logger to give to the library.
func (l *Log) Logger() log.Logger { return line{Log: l} }

// options returns options with the logger replaced.
func (l *Log) options(o pulsar.ClientOptions) pulsar.ClientOptions {
	o.Logger = l.Logger()
	return o
}

// cause returns why there is no connection, and whether there ever was one.
func (l *Log) cause() (last cause, connected bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.connected
}

// WasConnected reports whether there ever was a connection.
func (l *Log) WasConnected() bool {
	_, connected := l.cause()
	return connected
}

// heard records a connection, or why there is none.
func (l *Log) heard(connected bool, last cause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.connected = last, l.connected || connected
}

// line is a logger of the library with its fields.
type line struct {
	*Log
	fields log.Fields
}

func (l line) with(fields log.Fields) line {
	all := make(log.Fields, len(l.fields)+len(fields))
	maps.Copy(all, l.fields)
	maps.Copy(all, fields)
	return line{Log: l.Log, fields: all}
}

func (l line) SubLogger(fields log.Fields) log.Logger     { return l.with(fields) }
func (l line) WithFields(fields log.Fields) log.Entry     { return l.with(fields) }
func (l line) WithField(name string, value any) log.Entry { return l.with(log.Fields{name: value}) }

func (l line) WithError(err error) log.Entry     { return l.with(log.Fields{"error": err}) }
func (l line) Debug(args ...any)                 { l.debug(args) }
func (l line) Debugf(format string, args ...any) { pulsarwire.Line(format, args) }
func (l line) Info(args ...any)                  { l.write(fmt.Sprint(args...)) }
func (l line) Infof(format string, args ...any)  { l.write(fmt.Sprintf(format, args...)) }
func (l line) Warn(args ...any)                  { l.write(fmt.Sprint(args...)) }
func (l line) Warnf(format string, args ...any)  { l.write(fmt.Sprintf(format, args...)) }
func (l line) Error(args ...any)                 { l.write(fmt.Sprint(args...)) }
func (l line) Errorf(format string, args ...any) { l.write(fmt.Sprintf(format, args...)) }

// Lines of a consumer.
const (
	disconnects = "connection closed and send to connectClosedCh" // at level debug
	attaches    = "Connected consumer"
	drops       = "Removing chunk message-id" // beginning of it
)

// expiry is the library's function on the goroutine that waits for the time of a message in chunks.
const expiry = ".discardChunkIfExpire"

// expires reports whether the caller is on that goroutine.
func expires() bool {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, expiry) {
			return true
		}
		if !more {
			return false
		}
	}
}

// debug matches the line of a disconnect. It drops all others: there are several for each message.
func (l line) debug(args []any) {
	if len(args) != 1 {
		return
	}
	if text, ok := args[0].(string); ok && text == disconnects {
		l.On.Disconnected(l.field("topic"), l.field("subscription"))
	}
}

// field returns the text of a field, empty if there is none.
func (l line) field(name string) string {
	text, _ := l.fields[name].(string)
	return text
}

var errUnknown = errors.New("the client library gives no cause")

// write matches a line and forwards it.
func (l line) write(text string) {
	const refused = "Failed to establish connection with broker: "
	begins := func(prefix string) bool { return strings.HasPrefix(text, prefix) }
	switch {
	case begins("Connecting to broker"):
		l.connecting()
	case begins("TCP connection established"):
		l.established()
	case begins("Connection is ready"):
		l.connected()
	case begins(refused):
		l.unreachable(cause{refused: strings.Trim(strings.TrimPrefix(text, refused), "'")})
	case begins("Failed to connect to broker"), begins("Failed to perform initial handshake"),
		begins("Failed to load auth credentials"), begins("Failed to configure TLS"):
		err, _ := l.fields["error"].(error)
		l.unreachable(cause{err: cmp.Or(err, errUnknown)})
	case begins(discards):
		l.discarded()
	case begins(explains):
		l.explained()
	case begins("Topic Not Found"):
		if topic := l.field("topic"); topic != "" {
			l.On.Deleted(topic)
		}
	case begins("Consumer with ID not found while closing consumer"):
		l.On.Unknown()
	case begins("Received invalid command type: REACHED_END_OF_TOPIC"):
		l.On.EndOfTopic()
	case begins(drops) && expires():
		if l.On.Dropped == nil {
			// Nothing else keeps the message from being lost. The goroutine has nothing else to do, and releases its locks
			// by defer.
			runtime.Goexit()
		}
		l.On.Dropped(l.field("topic"), text)
	case text == attaches:
		l.On.Attached(l.field("topic"), l.field("subscription"))
	}
	ctx := context.Background()
	if !l.out.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("line", text)}
	for _, name := range []string{"topic", "subscription", "remote_addr", "error"} {
		if v, ok := l.fields[name]; ok {
			attrs = append(attrs, slog.Any(name, v))
		}
	}
	l.out.LogAttrs(ctx, slog.LevelDebug, "pulsar: client library", attrs...)
}
