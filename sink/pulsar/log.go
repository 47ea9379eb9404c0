package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

// troubles remembers the reason of the library's last failed connection. The library's error is only "connection error"; its
// log has the reason.
type troubles struct{ last atomic.Pointer[trouble] }

type trouble struct {
	at  time.Time
	err error
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
func (t *troubles) note(text string, cause error) {
	const refused = "Failed to establish connection with broker:"
	switch {
	case strings.HasPrefix(text, refused):
		cause = &refusal{strings.Trim(strings.TrimPrefix(text, refused), " '")}
	case strings.HasPrefix(text, "Failed to connect to broker"), strings.HasPrefix(text, "Failed to configure TLS"),
		strings.HasPrefix(text, "Failed to load auth credentials"):
	case strings.HasPrefix(text, "Failed to perform initial handshake"):
		cause = fmt.Errorf("handshake: %w (check whether the broker requires TLS)", orUnknown(cause))
	default:
		return
	}
	t.last.Store(&trouble{time.Now(), orUnknown(cause)})
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no reason given")
	}
	return err
}

// libraryLog is the logger of the client library. It logs the text and the error at level debug. It drops the fields, because
// some contain user data.
type libraryLog struct {
	out      *slog.Logger
	troubles *troubles
	err      error
}

var (
	_ log.Logger = libraryLog{}
	_ log.Entry  = libraryLog{}
)

func (l libraryLog) tell(text string) {
	l.troubles.note(text, l.err)
	attrs := []slog.Attr{slog.String("text", text)}
	if l.err != nil {
		attrs = append(attrs, slog.String("error", l.err.Error()))
	}
	l.out.LogAttrs(context.Background(), slog.LevelDebug, "pulsar: client library", attrs...)
}

// SubLogger implements log.Logger, as do the methods below.
func (l libraryLog) SubLogger(log.Fields) log.Logger { return l }

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
