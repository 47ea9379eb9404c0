package wire

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
)

// The numbers of the requests made here (https://kafka.apache.org/protocol#protocol_api_keys).
const (
	KeyFetch       = 1
	KeyListOffsets = 2
	KeyMetadata    = 3
	KeyVersions    = 18
	KeyEpochEnds   = 23
)

// maxFrame bounds a response: a larger length is not one, but another protocol on that port.
const maxFrame = 1 << 30

var (
	errAborted = errors.New("request canceled")
	errRenew   = errors.New("renewing the connection")
)

// Exchange is one request and its response over a connection of kafka-go's Transport, which hands a
// protocol.RawExchanger the connection, authenticated and to itself, and has it write and read whatever it likes. So
// the versions and the codec are ours, while dialing, TLS, SASL and the pool stay the library's.
//
// Registering types of our own for these requests (protocol.Register) would change them for the whole process, for
// the user's own kafka-go clients too.
//
// RawExchange runs on a goroutine of the library, where a panic would end the process: it moves bytes and parses
// none.
type Exchange struct {
	Key, Version int16
	Broker       int32 // its id; -1 is any of the bootstrap brokers
	clientID     string
	Body         []byte
	Renew        bool // give this connection up: the next exchange gets a new one

	Buffers  *buffer.Pool // lends the response; nil: it is allocated
	response []byte       // set by RawExchange, read after RoundTrip has returned without an error; body without header

	mu      sync.Mutex
	aborted bool
	ended   bool      // RawExchange has returned
	conn    deadliner // the connection while it is in use
}

type deadliner interface{ SetDeadline(time.Time) error }

// ApiKey is part of protocol.Message.
//
//nolint:revive // the name is the library's
func (x *Exchange) ApiKey() protocol.ApiKey { return protocol.ApiKey(x.Key) }

// routed returns x as the message to hand to the Transport: with a route to its broker, or without one, which is any
// of the bootstrap brokers.
func (x *Exchange) routed() protocol.Message {
	if x.Broker < 0 {
		return x
	}
	return toBroker{x}
}

// toBroker is an Exchange with one certain broker. The Transport asks for its id alone and must know it already.
type toBroker struct{ *Exchange }

// Broker is part of protocol.BrokerMessage.
func (x toBroker) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: x.Exchange.Broker}, nil
}

// Required is part of protocol.RawExchanger.
func (x *Exchange) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange is part of protocol.RawExchanger. Any error it returns makes the library close the connection.
func (x *Exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if x.Renew {
		return nil, errRenew
	}
	if !x.begin(rw) {
		return nil, errAborted
	}
	err := x.roundTrip(rw)
	if !x.end(err) {
		return nil, cmp.Or(err, errAborted)
	}
	return x, nil
}

// abort ends the exchange in whatever state it is. It cannot be used again.
func (x *Exchange) abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.aborted = true
	if x.conn != nil {
		_ = x.conn.SetDeadline(time.Unix(1, 0)) // if that fails, the connection is dead already
	}
	if x.ended { // the response came just before
		x.Return()
	}
}

func (x *Exchange) begin(rw io.ReadWriter) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn, _ = rw.(deadliner)
	x.ended = false
	return !x.aborted
}

// end reports whether there is a response and the connection may be used again: abort has not touched its deadline.
func (x *Exchange) end(err error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn, x.ended = nil, true
	if err != nil || x.aborted {
		x.Return()
		return false
	}
	return true
}

// Return gives the response back to Buffers; nothing may use it any more.
func (x *Exchange) Return() {
	if x.Buffers != nil {
		x.Buffers.Return(x.response)
	}
	x.response = nil
}

const correlation = 0x6b737472 // one request at a time on a connection: the number is only checked

func (x *Exchange) roundTrip(rw io.ReadWriter) error {
	flexible := x.flexible()
	w := Writer{B: make([]byte, 0, 64+len(x.Body))}
	w.I32(0) // length, below
	w.I16(x.Key)
	w.I16(x.Version)
	w.I32(correlation)
	w.Text(x.clientID) // not compact, whatever the version (KIP-482)
	w.Flexible = flexible
	w.Tags()
	w.B = append(w.B, x.Body...)
	binary.BigEndian.PutUint32(w.B, uint32(len(w.B)-4))
	if _, err := rw.Write(w.B); err != nil {
		return err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return unexpected(err)
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size < 4 || size > maxFrame {
		return fmt.Errorf("invalid response length of %d bytes: check that the port belongs to a Kafka broker and does not expect TLS", size)
	}
	if id := binary.BigEndian.Uint32(head[4:]); id != correlation {
		return fmt.Errorf("response has correlation id %d of another request", id)
	}
	return unexpected(x.readFrame(rw, int(size)-4))
}

func (x *Exchange) flexible() bool { return Flexible(x.Key, x.Version) }

// Flexible reports whether a version of a request has compact fields and tag sections (KIP-482). It knows the requests
// that are written here.
func Flexible(key, version int16) bool {
	switch key {
	case KeyFetch:
		return version >= 12
	case KeyMetadata:
		return version >= 9
	}
	return false
}

// Frame returns the whole response, which the caller gives back to Buffers instead of calling Return.
func (x *Exchange) Frame() []byte { return x.response }

// Payload returns a reader of the response after its header.
func (x *Exchange) Payload() Reader {
	r := Reader{B: x.response, Flexible: x.flexible()}
	r.Tags(nil)
	return r
}

// readFrame reads n bytes into the response, which grows as bytes arrive: a length that lies allocates little.
func (x *Exchange) readFrame(rd io.Reader, n int) error {
	const step = 4 << 20
	x.response = x.frame(min(n, step))
	for have := 0; ; {
		m, err := io.ReadFull(rd, x.response[have:])
		have += m
		if err != nil || have == n {
			return err
		}
		grown := x.frame(min(n, 2*have))
		copy(grown, x.response)
		x.Return()
		x.response = grown
	}
}

func (x *Exchange) frame(n int) []byte {
	if x.Buffers == nil {
		return make([]byte, n)
	}
	return x.Buffers.Lend(n)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
