package pulsarprobe

import (
	"context"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// network has servers by address. Each handles a connection with its func. Other addresses refuse connections.
type network map[string]func(c net.Conn)

func (n network) dial(_ context.Context, _, addr string) (net.Conn, error) {
	f, ok := n[addr]
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	go func() {
		defer func() { _ = theirs.Close() }()
		f(theirs)
	}()
	return ours, nil
}

// answers handles a connection by the first byte that arrives.
func answers(by map[byte]string) func(c net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 1<<14) // takes a whole request
		if n, _ := c.Read(b); n > 0 {
			_, _ = io.WriteString(c, by[b[0]])
		}
	}
}

func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func broker(c net.Conn) {
	answers(map[byte]string{0: "\x00\x00\x00\x09\x00\x00\x00\x05\x08\x03\x1a\x01\x01"})(c)
}

func TestProbeNamesTheProtocolOfAWrongPort(t *testing.T) {
	web := answers(map[byte]string{'G': "HTTP/1.1 400 Bad Request\r\n\r\n"})
	secure := answers(map[byte]string{'G': "\x15\x03\x03\x00\x02\x02\x46", 0x16: "\x15\x03\x03\x00\x02\x02\x28"})
	for name, c := range map[string]struct {
		f      func(c net.Conn)
		scheme string
		says   string // none: it cannot tell
	}{
		"HTTP":                {web, "pulsar", "speaks HTTP"},
		"HTTP instead of TLS": {web, "pulsar+ssl", "speaks HTTP"},
		"TLS":                 {secure, "pulsar", "expects TLS"},
		"no TLS":              {broker, "pulsar+ssl", "does not speak TLS"},
		"broker":              {broker, "pulsar", ""},
		"secure broker":       {secure, "pulsar+ssl", ""},
		"silent":              {silent, "pulsar", ""},
		"closes":              {func(net.Conn) {}, "pulsar", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const addr = "a:6650"
				n := network{addr: c.f}
				err := probe(t.Context(), n.dial, addr, c.scheme+"://"+addr)
				switch {
				case c.says == "" && err != nil, c.says != "" && err == nil:
					t.Errorf("probe = %v, want an error with %q", err, c.says)
				case err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), addr)):
					t.Errorf("probe = %v, want %q and %s", err, c.says, addr)
				}
			})
		})
	}
}

func TestPreferListsHostsThatAnswerFirst(t *testing.T) {
	n := network{"broker:1": broker, "silent:1": silent, "closed:1": func(net.Conn) {}}
	times := strings.Repeat("broker:1,", preferred)
	for _, c := range []struct{ url, want string }{
		{"pulsar://silent:1", "pulsar://silent:1"},
		{"pulsar://silent:1,closed:1", "pulsar://silent:1,closed:1"},
		{"pulsar://silent:1,refuses:1", "pulsar://silent:1,refuses:1"},
		{"pulsar://broker:1,broker:1", "pulsar://broker:1,broker:1"},
		{"pulsar://silent:1,broker:1,closed:1", "pulsar://" + times + "silent:1,closed:1"},
		{"pulsar+ssl://broker:1,silent:1", "pulsar+ssl://broker:1,silent:1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			if got := prefer(t.Context(), n.dial, c.url); got != c.want {
				t.Errorf("prefer(%s) = %s, want %s", c.url, got, c.want)
			}
		})
	}
}

func TestHostsWithoutAPortHaveTheDefaultOne(t *testing.T) {
	for host, want := range map[string]string{
		"a": "a:6650", "a:1": "a:1", "[::1]": "[::1]:6650", "[::1]:1": "[::1]:1", "10.0.0.1": "10.0.0.1:6650",
	} {
		if got := withPort(host, "6650"); got != want {
			t.Errorf("withPort(%s) = %s, want %s", host, got, want)
		}
	}
}
