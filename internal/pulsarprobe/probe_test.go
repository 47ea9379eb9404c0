package pulsarprobe

import (
	"io"
	"net"
	"strings"
	"testing"
)

// server listens on a port of this machine and handles each connection with f.
func server(t *testing.T, f func(c net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestProbeNamesTheProtocolOfAWrongPort(t *testing.T) {
	// firstByte handles a connection by the first byte that arrives.
	firstByte := func(answers map[byte]string) func(c net.Conn) {
		return func(c net.Conn) {
			b := make([]byte, 17)
			if n, _ := c.Read(b); n > 0 {
				_, _ = io.WriteString(c, answers[b[0]])
			}
		}
	}
	web := firstByte(map[byte]string{'G': "HTTP/1.1 400 Bad Request\r\n\r\n"})
	broker := firstByte(map[byte]string{0: "\x00\x00\x00\x09\x00\x00\x00\x05\x08\x03\x1a\x01\x01"})
	secure := firstByte(map[byte]string{'G': "\x15\x03\x03\x00\x02\x02\x46", 0x16: "\x15\x03\x03\x00\x02\x02\x28"})
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
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
			t.Parallel()
			addr := server(t, c.f)
			err := Probe(t.Context(), addr, c.scheme+"://"+addr)
			switch {
			case c.says == "" && err != nil, c.says != "" && err == nil:
				t.Errorf("Probe = %v, want an error with %q", err, c.says)
			case err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), addr)):
				t.Errorf("Probe = %v, want %q and %s", err, c.says, addr)
			}
		})
	}
}

func TestPreferListsHostsThatAnswerFirst(t *testing.T) {
	broker := server(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 17))
		_, _ = io.WriteString(c, "\x00\x00\x00\x09\x00\x00\x00\x05\x08\x03\x1a\x01\x01")
	})
	silent := server(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	closed := server(t, func(net.Conn) {})
	times := func(n int, host string) string { return strings.TrimSuffix(strings.Repeat(host+",", n), ",") }
	for _, c := range []struct{ url, want string }{
		{"pulsar://" + silent, "pulsar://" + silent},
		{"pulsar://" + silent + "," + closed, "pulsar://" + silent + "," + closed},
		{"pulsar://" + broker + "," + broker, "pulsar://" + broker + "," + broker},
		{"pulsar://" + silent + "," + broker + "," + closed, "pulsar://" + times(preferred, broker) + "," + silent + "," + closed},
		{"pulsar+ssl://" + broker + "," + silent, "pulsar+ssl://" + broker + "," + silent},
	} {
		if got := Prefer(t.Context(), c.url); got != c.want {
			t.Errorf("Prefer(%s) = %s, want %s", c.url, got, c.want)
		}
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
