package pulsarprobe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// Timeout bounds a [Probe] and a [Prefer].
const Timeout = 700 * time.Millisecond

// Hosts returns how many hosts the URL of a cluster names.
func Hosts(url string) int { return strings.Count(url, ",") + 1 }

// Probe returns an error if an address speaks something else than the URL says: HTTP, or Pulsar's protocol with TLS instead of
// without, or the reverse. It returns nil if it cannot tell.
func Probe(ctx context.Context, addr, url string) error {
	return probe(ctx, new(net.Dialer).DialContext, addr, url)
}

// dialer dials as a [net.Dialer] does. Tests dial on a network in memory.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func probe(ctx context.Context, dial dialer, addr, url string) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	secure := pulsarname.Encrypts(url)
	var http, other bool
	var wg sync.WaitGroup
	wg.Go(func() { http = speaksHTTP(ctx, dial, addr) })
	wg.Go(func() {
		if secure {
			other = speaksPulsar(ctx, dial, addr)
		} else {
			other = speaksTLS(ctx, dial, addr)
		}
	})
	wg.Wait()
	switch {
	case http:
		return fmt.Errorf("pulsar: %s speaks HTTP: want the port of the brokers' binary protocol, 6650 or with TLS 6651, in the URL %s", addr, url)
	case other && secure:
		return fmt.Errorf("pulsar: %s does not speak TLS (use a pulsar:// URL, or another port)", addr)
	case other:
		return fmt.Errorf("pulsar: %s expects TLS (use a pulsar+ssl:// URL, or another port)", addr)
	}
	return nil
}

// answer sends a request and returns the first bytes of the answer, at most n.
func answer(ctx context.Context, dial dialer, addr, request string, n int) []byte {
	c, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil
	}
	defer func() { _ = c.Close() }()
	if end, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(end)
	}
	if _, err := io.WriteString(c, request); err != nil {
		return nil
	}
	b := make([]byte, n)
	read, _ := io.ReadFull(c, b)
	return b[:read]
}

func speaksHTTP(ctx context.Context, dial dialer, addr string) bool {
	return strings.HasPrefix(string(answer(ctx, dial, addr, "GET / HTTP/1.0\r\n\r\n", 5)), "HTTP/")
}

// connectCommand is a frame with the command CONNECT (client version k, protocol version 19).
const connectCommand = "\x00\x00\x00\x0d\x00\x00\x00\x09\x08\x02\x12\x05\x0a\x01k\x20\x13"

// SpeaksPulsar reports whether an address answers to Pulsar's first command, without TLS.
func SpeaksPulsar(ctx context.Context, addr string) bool {
	return speaksPulsar(ctx, new(net.Dialer).DialContext, addr)
}

func speaksPulsar(ctx context.Context, dial dialer, addr string) bool {
	b := string(answer(ctx, dial, addr, connectCommand, 10))
	return strings.HasSuffix(b, "\x08\x03") || strings.HasSuffix(b, "\x08\x0e") // CONNECTED, ERROR
}

// speaksTLS reports whether an address answers to a TLS handshake with one.
func speaksTLS(ctx context.Context, dial dialer, addr string) bool {
	c, err := dial(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	host, _, _ := net.SplitHostPort(addr)
	err = tls.Client(c, &tls.Config{ServerName: host, InsecureSkipVerify: true}).HandshakeContext(ctx) //nolint:gosec // nothing is sent
	alert, ok := errors.AsType[*net.OpError](err)
	return err == nil || ok && alert.Op == "remote error"
}
