package pulsar

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"strings"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

// lines hears what the client library writes to its log, and passes it on at level debug. Some things the library says
// nowhere else: why there is no connection (every call answers "connection error", be the token refused or the broker
// down), and that a consumer has given up because its topic was deleted.
//
// It is safe for concurrent use. What is heard wrong costs a better error, or the time until the next look at the
// topics; but for the one line that says that the connection of a consumer goes, on which every ownership hangs. A test holds
// it against the library's source.
type lines struct {
	log *slog.Logger
	// dead is told of the topic of a consumer that has given up. It is called on goroutines of the library and must not
	// block.
	dead func(topic string)
	// broke is told that the connection of a consumer goes, or its topic is unloaded: on the goroutine that ends it, before
	// the consumer itself hears of it. It is called like dead.
	broke func(topic, subscription string)
	// unknown is told that the broker has ended a consumer which the library does not know yet. It is called like dead.
	unknown func()
	// ends is told that a connection is closed because some topic has ended, before broke is told of its consumers.
	ends func()
	// attached is told that the broker has attached a consumer or a candidate, for the first time or again, before the library hears
	// what else the broker says about it. It is called like dead.
	attached func(topic, subscription string)
	// dropped is told that a consumer gives up a message in chunks and is about to acknowledge one of them. nil: it must not, and
	// does not.
	dropped func(topic, line string)

	mu        sync.Mutex
	last      cause
	connected bool
}

// cause is why there is no connection, as last heard.
type cause struct {
	refused string // what the broker said
	err     error  // or what the network said
}

func (l *lines) cause() cause {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *lines) everConnected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connected
}

// line is a logger of the library with its fields.
type line struct {
	*lines
	fields log.Fields
}

func (l *lines) logger() log.Logger { return line{lines: l} }

func (l line) with(fields log.Fields) line {
	all := make(log.Fields, len(l.fields)+len(fields))
	maps.Copy(all, l.fields)
	maps.Copy(all, fields)
	return line{lines: l.lines, fields: all}
}

func (l line) SubLogger(fields log.Fields) log.Logger     { return l.with(fields) }
func (l line) WithFields(fields log.Fields) log.Entry     { return l.with(fields) }
func (l line) WithField(name string, value any) log.Entry { return l.with(log.Fields{name: value}) }

func (l line) WithError(err error) log.Entry     { return l.with(log.Fields{"error": err}) }
func (l line) Debug(args ...any)                 { l.broken(args) }
func (l line) Debugf(string, ...any)             {}
func (l line) Info(args ...any)                  { l.hear(fmt.Sprint(args...)) }
func (l line) Infof(format string, args ...any)  { l.hear(fmt.Sprintf(format, args...)) }
func (l line) Warn(args ...any)                  { l.hear(fmt.Sprint(args...)) }
func (l line) Warnf(format string, args ...any)  { l.hear(fmt.Sprintf(format, args...)) }
func (l line) Error(args ...any)                 { l.hear(fmt.Sprint(args...)) }
func (l line) Errorf(format string, args ...any) { l.hear(fmt.Sprintf(format, args...)) }

// goes is what a consumer says when its connection goes, at level debug.
const goes = "connection closed and send to connectClosedCh"

// attaches is what a consumer says when the broker has attached it.
const attaches = "Connected consumer"

// drops is how a consumer begins to say that it is about to acknowledge a chunk of a message that is not complete yet.
const drops = "Removing chunk message-id"

// expires tells whether this is the goroutine of a message in chunks that waits until its time is over. Chunks are given up by
// the one that reads the connection, too, when a producer has sent the message anew: it must go on, and the new one comes whole.
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

// expiry is the library's function on that goroutine.
const expiry = ".discardChunkIfExpire"

// broken hears whether the connection of a consumer goes. The library says so whatever the cause.
func (l line) broken(args []any) {
	if len(args) != 1 {
		return
	}
	if text, ok := args[0].(string); !ok || text != goes {
		return
	}
	topic, _ := l.fields["topic"].(string)
	subscription, _ := l.fields["subscription"].(string)
	l.broke(topic, subscription)
}

func (l line) hear(text string) {
	err, _ := l.fields["error"].(error)
	const refused = "Failed to establish connection with broker: "
	switch {
	case strings.HasPrefix(text, "Connection is ready"):
		l.mu.Lock()
		l.last, l.connected = cause{}, true
		l.mu.Unlock()
	case strings.HasPrefix(text, refused):
		l.mu.Lock()
		l.last = cause{refused: strings.Trim(strings.TrimPrefix(text, refused), "'")}
		l.mu.Unlock()
	case strings.HasPrefix(text, "Failed to connect to broker"), strings.HasPrefix(text, "Failed to perform initial handshake"),
		strings.HasPrefix(text, "Failed to load auth credentials"), strings.HasPrefix(text, "Failed to configure TLS"):
		l.mu.Lock()
		l.last = cause{err: err}
		l.mu.Unlock()
	case strings.HasPrefix(text, "Topic Not Found"):
		if topic, ok := l.fields["topic"].(string); ok {
			l.dead(topic)
		}
	case strings.HasPrefix(text, "Consumer with ID not found while closing consumer"):
		l.unknown()
	case strings.HasPrefix(text, "Received invalid command type: REACHED_END_OF_TOPIC"):
		l.ends()
	case strings.HasPrefix(text, drops) && expires():
		if l.dropped == nil {
			// There is no other way to keep the message from being lost. This goroutine was to do nothing else, and its locks are
			// released by defer.
			runtime.Goexit()
		}
		topic, _ := l.fields["topic"].(string)
		l.dropped(topic, text)
	case text == attaches:
		topic, _ := l.fields["topic"].(string)
		subscription, _ := l.fields["subscription"].(string)
		l.attached(topic, subscription)
	}
	ctx := context.Background()
	if !l.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := make([]slog.Attr, 0, len(l.fields)+1)
	attrs = append(attrs, slog.String("line", text))
	for _, name := range []string{"topic", "subscription", "remote_addr", "error"} {
		if v, there := l.fields[name]; there {
			attrs = append(attrs, slog.Any(name, v))
		}
	}
	l.log.LogAttrs(ctx, slog.LevelDebug, "pulsar: client library", attrs...)
}
