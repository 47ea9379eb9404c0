package kafkanet

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// PortError is the error of a port that needs another configuration: another broker may answer, a retry does not help.
type PortError struct {
	Address string
	is, do  string
	Err     error // of the connection
}

func (e *PortError) Error() string {
	return fmt.Sprintf("%s %s: %v (%s)", e.Address, e.is, e.Err, e.do)
}

// Unwrap returns the cause.
func (e *PortError) Unwrap() error { return e.Err }

// Diagnose returns a [*PortError] if the port of a broker needs another configuration, else nil; cause is the error of a
// connection to it, and withSASL reports whether that had SASL. A broker closes such a connection without a reason, as does a
// stopping broker. Diagnose connects in the other ways: an answer is proof. It blocks for at most a few seconds.
func (d *Dialer) Diagnose(ctx context.Context, address string, withSASL bool, cause error) error {
	if failed, ok := errors.AsType[*Error](cause); ok && failed.Connecting() {
		return nil // no broker listens
	}
	var speaksTLS, speaksPlain, wantsSASL bool
	var asking sync.WaitGroup
	asking.Go(func() { speaksTLS = errors.Is(cause, ErrTLS) || d.speaksTLS(ctx, address) })
	if d.cfg.TLS != nil {
		asking.Go(func() { speaksPlain = d.speaksPlain(ctx, address) })
	}
	if !withSASL && disconnected(cause) { // a broker that is silent may be frozen, and thaw meanwhile
		asking.Go(func() { wantsSASL = d.wantsSASL(ctx, address) })
	}
	asking.Wait()
	const listener = "give the address of a Kafka listener, often port 9092"
	switch {
	case d.cfg.TLS == nil && speaksTLS:
		return &PortError{address, "expects TLS", "set Config.TLS, or use another port", cause}
	case d.cfg.TLS != nil && !speaksTLS && speaksPlain:
		return &PortError{address, "does not speak TLS", "leave Config.TLS empty, or use another port", cause}
	case wantsSASL:
		return &PortError{address, "expects SASL", "set Config.SASL, or use another port", cause}
	case errors.Is(cause, ErrHTTP), !disconnected(cause) && d.speaksHTTP(ctx, address):
		return &PortError{address, "is a web server", listener, cause}
	case errors.Is(cause, ErrForeign):
		return &PortError{address, "is no Kafka broker", listener, cause}
	}
	return nil
}

// disconnected reports whether the broker has ended the connection; a web server answers, or waits for the rest of the request.
func disconnected(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }

// diagnoseTimeout bounds each connection of Diagnose. A server of another protocol may never answer.
const diagnoseTimeout = 2 * time.Second

// try makes a connection for a question, which may block. It reports the answer, and false if there is none in time.
func (d *Dialer) try(ctx context.Context, address string, question func(context.Context, net.Conn) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	conn, err := d.Connect(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	return question(ctx, conn)
}

// speaksTLS reports whether the port answers a handshake in TLS, also with a refusal, such as of a client without a certificate.
// Nothing is sent over the connection.
func (d *Dialer) speaksTLS(ctx context.Context, address string) bool {
	return d.try(ctx, address, func(ctx context.Context, conn net.Conn) bool {
		c := &headed{Conn: conn}
		err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
		return err == nil || fromServer(c.head)
	})
}

// fromServer reports whether bytes begin a record of TLS with an alert or a ServerHello. An echo sends our ClientHello.
func fromServer(head []byte) bool {
	const alert, serverHello = 0x15, 2
	return isTLS(head) && (head[0] == alert || len(head) == headSize && head[headSize-1] == serverHello)
}

const headSize = 6 // of a record of TLS, with the type of its handshake message

// headed keeps the first bytes that are received.
type headed struct {
	net.Conn

	head []byte
}

// Read implements [net.Conn].
func (h *headed) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.head = append(h.head, b[:min(n, max(headSize-len(h.head), 0))]...)
	return n, err
}

func (d *Dialer) speaksPlain(ctx context.Context, address string) bool {
	return d.try(ctx, address, func(_ context.Context, conn net.Conn) bool {
		_, ok := exchange(conn, stepVersions, 0, nil)
		return ok
	})
}

// wantsSASL offers a mechanism that no broker has. A port with SASL answers with its own mechanisms; a port without closes
// the connection, or answers that it expects none.
func (d *Dialer) wantsSASL(ctx context.Context, address string) bool {
	return d.try(ctx, address, func(ctx context.Context, conn net.Conn) bool {
		if d.cfg.TLS != nil {
			var err error
			if conn, err = d.secure(ctx, conn, address); err != nil {
				return false
			}
		}
		const mechanism, unsupported = "KEYSTRAND-WHICH", 33
		code, ok := exchange(conn, stepSASL, 1, append([]byte{0, byte(len(mechanism))}, mechanism...))
		return ok && code == unsupported
	})
}

// exchange sends a request and returns the error code with which its answer begins.
func exchange(conn net.Conn, key step, version byte, body []byte) (code uint16, ok bool) {
	id := []byte{0, 0, 0, 1}
	request := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))      //nolint:gosec // short
	request = binary.BigEndian.AppendUint16(request, uint16(key))            //nolint:gosec // a key
	request = append(append(append(request, 0, version), id...), 0xff, 0xff) // version, correlation id, no client id
	if _, err := conn.Write(append(request, body...)); err != nil {
		return 0, false
	}
	var head [10]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil || foreign(head[:8], id) != nil {
		return 0, false
	}
	return binary.BigEndian.Uint16(head[8:]), true
}

// speaksHTTP makes a request for a page. Kafka's brokers take it for a length that is too large, and disconnect.
func (d *Dialer) speaksHTTP(ctx context.Context, address string) bool {
	return d.try(ctx, address, func(_ context.Context, conn net.Conn) bool {
		if d.cfg.TLS != nil {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		if _, err := io.WriteString(conn, "HEAD / HTTP/1.0\r\n\r\n"); err != nil {
			return false
		}
		line, _ := bufio.NewReaderSize(conn, 16).Peek(5)
		return strings.HasPrefix(string(line), "HTTP/")
	})
}
