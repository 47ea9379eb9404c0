// Virtual time: synctest bubbles and pipes.

package kafkanet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

// What a server answers to a request of Kafka and to a handshake in TLS shows what its port expects.
func TestDiagnoseNamesWhatThePortExpects(t *testing.T) {
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1000))
			go func() { _, _ = io.Copy(io.Discard, c) }() // a handshake may be longer
			_, _ = io.WriteString(c, text)
		}
	}
	for name, c := range map[string]struct {
		serve func(net.Conn)
		cause error
		want  string // empty: nothing
	}{
		"alert in TLS":    {says("\x15\x03\x03\x00\x02\x02\x46"), errDisconnected, "expects TLS"},
		"server hello":    {says("\x16\x03\x03\x00\x40\x02\x00\x00\x3c\x03\x03"), errDisconnected, "expects TLS"},
		"echo":            {func(c net.Conn) { _, _ = io.CopyN(c, c, 100) }, ErrForeign, "is no Kafka broker"},
		"web server":      {says("HTTP/1.1 400 Bad Request\r\n"), ErrHTTP, "is a web server"},
		"disconnects":     {func(net.Conn) {}, errDisconnected, ""},
		"refuses a login": {says("\x00\x00\x00\x06\x00\x00\x00\x01\x00\x22"), errDisconnected, ""},
		"expects a login": {says("\x00\x00\x00\x06\x00\x00\x00\x01\x00\x21"), errDisconnected, "expects SASL"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := New(Config{Brokers: []string{"a:1"}, Log: slog.New(slog.DiscardHandler), Dial: func(context.Context, string, string) (net.Conn, error) {
					near, far := net.Pipe()
					go func() { defer far.Close(); c.serve(far) }()
					return near, nil
				}})
				defer d.Close()
				err := d.Diagnose(t.Context(), "a:1", false, c.cause)
				if c.want == "" {
					if err != nil {
						t.Errorf("Diagnose = %v, want nil", err)
					}
					return
				}
				if _, ok := errors.AsType[*PortError](err); !ok || !strings.Contains(err.Error(), "a:1 "+c.want) || !errors.Is(err, c.cause) {
					t.Errorf("Diagnose = %v, want that a:1 %s", err, c.want)
				}
			})
		})
	}
}
