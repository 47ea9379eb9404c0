package pulsarbench

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Commands of Pulsar's protocol, by their number in BaseCommand.Type (PulsarApi.proto).
const (
	pulsarAck            = 10
	pulsarLookupResponse = 24
	pulsarAckResponse    = 38
)

// Proxy forwards between clients and a Pulsar broker. It counts acknowledgements and may delay their answers. Of a frame
// it reads only the length and the number of its command.
type Proxy struct {
	Acks, AckBytes       atomic.Int64 // acknowledgements of clients; bytes include the frame's lengths
	Answers, AnswerBytes atomic.Int64 // the broker's answers to them
	hold                 time.Duration
	listener             net.Listener
	broker               string
	own                  string
	running              sync.WaitGroup
	mu                   sync.Mutex
	open                 map[net.Conn]struct{} // nil when closed
}

// NewProxy listens for clients of the broker at a pulsar:// URL. It delays each answer to an acknowledgement by hold, and
// nothing else.
func NewProxy(brokerURL string, hold time.Duration) (*Proxy, error) {
	u, err := url.Parse(brokerURL)
	if err != nil {
		return nil, err
	}
	p := &Proxy{hold: hold, broker: u.Host, open: make(map[net.Conn]struct{})}
	// Answers to lookups have the broker's address. The proxy replaces it by its own, which must be of the same length.
	for range 1_000 {
		l, err := net.Listen("tcp", net.JoinHostPort(u.Hostname(), "0"))
		if err != nil {
			return nil, err
		}
		if p.own = l.Addr().String(); len(p.own) == len(p.broker) {
			p.listener = l
			break
		}
		_ = l.Close()
	}
	if p.listener == nil {
		return nil, errors.New("pulsar proxy: no free port has as many digits as the broker's, " + p.broker)
	}
	p.running.Go(p.accept)
	return p, nil
}

// URL returns the URL for clients.
func (p *Proxy) URL() string { return "pulsar://" + p.own }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", p.broker)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.keep(client) || !p.keep(broker) {
			_, _ = client.Close(), broker.Close()
			return
		}
		p.running.Go(func() { p.pass(broker, client, p.fromClient) })
		p.running.Go(func() { p.fromBroker(client, broker) })
	}
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		p.open[c] = struct{}{}
	}
	return p.open != nil
}

// pass copies frames until one side closes.
func (p *Proxy) pass(to io.WriteCloser, from io.Reader, see func(frame []byte)) {
	defer func() { _ = to.Close() }()
	r, w := bufio.NewReaderSize(from, 1<<16), bufio.NewWriterSize(to, 1<<16)
	var frame []byte
	for {
		var err error
		if frame, err = readFrame(r, frame); err != nil {
			return
		}
		see(frame)
		if _, err := w.Write(frame); err != nil {
			return
		}
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}

func (p *Proxy) fromClient(frame []byte) {
	if command(frame) == pulsarAck {
		p.Acks.Add(1)
		p.AckBytes.Add(int64(len(frame)))
	}
}

// fromBroker passes frames from the broker. Delayed answers keep their order and delay no other frame.
func (p *Proxy) fromBroker(to io.WriteCloser, from io.Reader) {
	type held struct {
		frame []byte
		due   time.Time
	}
	var mu sync.Mutex
	out := writeCloser{lock: &mu, WriteCloser: to}
	late := make(chan held, 1<<16)
	defer close(late)
	p.running.Go(func() {
		for h := range late {
			time.Sleep(time.Until(h.due))
			_, _ = out.Write(h.frame)
		}
	})
	defer func() { _ = to.Close() }()
	r := bufio.NewReaderSize(from, 1<<16)
	var frame []byte
	for {
		var err error
		if frame, err = readFrame(r, frame); err != nil {
			return
		}
		switch command(frame) {
		case pulsarLookupResponse:
			frame = bytes.ReplaceAll(frame, []byte(p.broker), []byte(p.own))
		case pulsarAckResponse:
			p.Answers.Add(1)
			p.AnswerBytes.Add(int64(len(frame)))
			if p.hold > 0 {
				late <- held{bytes.Clone(frame), time.Now().Add(p.hold)}
				continue
			}
		}
		if _, err := out.Write(frame); err != nil {
			return
		}
	}
}

type writeCloser struct {
	io.WriteCloser
	lock *sync.Mutex
}

func (w writeCloser) Write(b []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.WriteCloser.Write(b)
}

// readFrame reads one frame: length of the rest, length of the command, the command, and the payload.
func readFrame(r io.Reader, into []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:])) + len(head)
	if cap(into) < n {
		into = make([]byte, n)
	}
	into = into[:n]
	copy(into, head[:])
	_, err := io.ReadFull(r, into[len(head):])
	return into, err
}

// command returns the number of a frame's command, the first field of BaseCommand.
func command(frame []byte) int {
	if len(frame) < 10 || frame[8] != 1<<3 {
		return 0
	}
	return int(frame[9])
}

// Close closes all connections and waits until their goroutines have ended.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mu.Lock()
	open := p.open
	p.open = nil
	p.mu.Unlock()
	for c := range open {
		_ = c.Close()
	}
	p.running.Wait()
}

// AdminOf returns the default address of a broker's web service: port 8080 of the same host.
func AdminOf(pulsarURL string) string {
	host := strings.TrimPrefix(pulsarURL, "pulsar://")
	if h, _, err := net.SplitHostPort(strings.Split(host, ",")[0]); err == nil {
		host = h
	}
	return "http://" + net.JoinHostPort(host, "8080")
}
