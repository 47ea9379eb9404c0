// Package kafkanet opens connections to the brokers of one Kafka cluster, with TLS where it is configured.
//
// Every wait for a broker ends: with the ctx of the call, with the handshake timeout, or with Close. A broker that does not
// answer is logged within two seconds with its address and the step, again each minute, and once when it answers again. While
// another broker of the list answers, a bootstrap connection does not use one that does not.
//
// It does not retry, and bounds no request after the handshake.
package kafkanet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"
)

// HandshakeTimeout bounds each step until a connection can be used: connect with TLS, and each request of the SASL handshake.
const HandshakeTimeout = 5 * time.Second

// firstTimeout bounds the connect of a bootstrap connection, with TLS, while there are other brokers to try. It leaves time for
// the line in the log.
const firstTimeout = patience + patience/4

// Bootstrap is the network of a connection to any of the brokers in Config.Brokers. DialContext refuses an address as long
// as another broker of the list is the better choice.
const Bootstrap = "bootstrap"

// Config configures a Dialer. Brokers, Dial and Log are required.
type Config struct {
	Brokers []string
	TLS     *tls.Config
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxWait is how long a broker may delay the answer to a fetch.
	MaxWait time.Duration
	Log     *slog.Logger
}

// Dialer opens connections. It is safe for concurrent use.
//
// Owns: a timer for each connection, and a goroutine for each call of Config.Dial and of the SASL mechanism. One that ignores
// its ctx keeps that goroutine.
type Dialer struct {
	cfg   Config
	peers *peers
	open  context.Context //nolint:containedctx // ends with Close, and all connections with it
	close context.CancelFunc
}

// New returns a Dialer. It makes no connection.
func New(cfg Config) *Dialer {
	open, cancel := context.WithCancel(context.Background())
	return &Dialer{cfg: cfg, peers: newPeers(cfg.Brokers, cfg.Log), open: open, close: cancel}
}

// Close closes all connections. Every later DialContext fails.
func (d *Dialer) Close() { d.close() }

// Waits returns the brokers that do not answer now, sorted by address.
func (d *Dialer) Waits() []Wait { return d.peers.waits() }

// Bootstrap returns the address for the library's Transport that makes it use the network [Bootstrap].
func (d *Dialer) Bootstrap() net.Addr {
	networks := strings.Repeat(","+Bootstrap, len(d.cfg.Brokers))[1:]
	return bootstrap{network: networks, address: strings.Join(d.cfg.Brokers, ",")}
}

type bootstrap struct{ network, address string }

func (b bootstrap) Network() string { return b.network }
func (b bootstrap) String() string  { return b.address }

// DialContext connects to a broker and makes the TLS handshake. It blocks for at most HandshakeTimeout, also if Config.Dial
// ignores its ctx, and for firstTimeout on the network Bootstrap while another broker of the list has not failed. Its errors are
// an [*Error].
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.open.Err() != nil {
		return nil, &Error{Address: address, Step: stepConnect, Err: net.ErrClosed}
	}
	first := network == Bootstrap
	if first {
		if err := d.peers.skip(address); err != nil {
			return nil, err
		}
		network = "tcp"
	}
	timeout := HandshakeTimeout
	if first && d.peers.others(address) {
		timeout = firstTimeout
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(d.open, cancel)() //nolint:contextcheck // Close ends it, too
	raw, err := d.Connect(ctx, network, address)
	if err != nil {
		return nil, d.refused(ctx, address, stepConnect, began, err)
	}
	if d.cfg.TLS != nil {
		if raw, err = d.secure(ctx, raw, address); err != nil {
			return nil, d.refused(ctx, address, stepTLS, began, err)
		}
	}
	c := &conn{Conn: raw, peers: d.peers, address: address, bootstrap: first, maxWait: d.cfg.MaxWait}
	c.mu.Lock() // Close of the Dialer may call Close at once
	defer c.mu.Unlock()
	c.stop = context.AfterFunc(d.open, func() { _ = c.Close() }) //nolint:contextcheck // Close ends it
	return c, nil
}

// Connect calls Config.Dial and adds nothing to the connection, which Close does not close. It returns when ctx ends, also if
// Config.Dial ignores that.
func (d *Dialer) Connect(ctx context.Context, network, address string) (net.Conn, error) {
	defer d.peers.watch(ctx, address, stepConnect)()
	type result struct {
		conn net.Conn
		err  error
	}
	done, gone := make(chan result), make(chan struct{})
	defer close(gone)
	go func() {
		conn, err := d.cfg.Dial(ctx, network, address)
		select {
		case done <- result{conn, err}:
		case <-gone:
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(causeTimeout)
	defer grace.Stop()
	select { // one that obeys ctx names the cause, as a name server that is silent
	case r := <-done:
		if r.err == nil {
			_ = r.conn.Close()
			return nil, ctx.Err()
		}
		return nil, r.err
	case <-grace.C:
		return nil, ctx.Err()
	}
}

// causeTimeout is how long Connect waits for the error of Config.Dial after the end of ctx.
const causeTimeout = 50 * time.Millisecond

// secure makes the TLS handshake. It closes raw if that fails.
func (d *Dialer) secure(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	defer d.peers.watch(ctx, address, stepTLS)()
	cfg := d.cfg.TLS
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}
	c := tls.Client(raw, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// refused returns the error of a connection that was not made.
func (d *Dialer) refused(ctx context.Context, address string, step step, began time.Time, err error) error {
	if d.open.Err() != nil {
		return &Error{Address: address, Step: step, Err: net.ErrClosed}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return &Error{Address: address, Step: step, Err: ctx.Err()}
	}
	if deadline, _ := ctx.Deadline(); ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v: %w", deadline.Sub(began).Round(100*time.Millisecond), err)
	}
	switch {
	case errors.Is(err, syscall.EMFILE):
		err = fmt.Errorf("%w (raise the limit of file descriptors: ulimit -n, LimitNOFILE)", err)
	case step == stepConnect && !d.peers.listed(address):
		err = fmt.Errorf("%w (the cluster advertises this address: check advertised.listeners of the broker, DNS and firewalls)", err)
	}
	failed := &Error{Address: address, Step: step, Err: ended(err)}
	d.peers.failed(failed)
	return failed
}

// ended returns an error that is not io.EOF, which means the end of a finite source elsewhere.
func ended(err error) error {
	switch {
	case err == io.EOF: //nolint:errorlint // the others have a text of their own
		return errDisconnected
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%v: %w", err, io.ErrUnexpectedEOF) //nolint:errorlint // it must not wrap io.EOF
	}
	return err
}
