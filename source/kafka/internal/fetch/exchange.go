package fetch

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// The numbers of the requests made here (https://kafka.apache.org/protocol#protocol_api_keys).
const (
	keyFetch       = 1
	keyListOffsets = 2
	keyMetadata    = 3
	keyVersions    = 18
	keyEpochEnds   = 23
)

// maxFrame bounds a response: a larger length is not one, but another protocol on that port.
const maxFrame = 1 << 30

var (
	errAborted = errors.New("the request was given up")
	errRenew   = errors.New("the connection is renewed")
)

// exchange is one request and its response over a connection of kafka-go's Transport, which hands a
// protocol.RawExchanger the connection, authenticated and to itself, and has it write and read whatever it likes. So
// the versions and the codec are ours, while dialing, TLS, SASL and the pool stay the library's.
//
// Registering types of our own for these requests (protocol.Register) would change them for the whole process, for
// the user's own kafka-go clients too.
//
// RawExchange runs on a goroutine of the library, where a panic would end the process: it moves bytes and parses
// none.
type exchange struct {
	key, version int16
	broker       int32 // its id; -1 is any of the bootstrap brokers
	clientID     string
	body         []byte
	renew        bool // give this connection up: the next exchange gets a new one

	buffers  *Buffers // lends the response; nil: it is allocated
	response []byte   // set by RawExchange, read after RoundTrip has returned without an error; body without header

	mu      sync.Mutex
	aborted bool
	ended   bool      // RawExchange has returned
	conn    deadliner // the connection while it is in use
}

type deadliner interface{ SetDeadline(time.Time) error }

// ApiKey is part of protocol.Message.
//
//nolint:revive // the name is the library's
func (x *exchange) ApiKey() protocol.ApiKey { return protocol.ApiKey(x.key) }

// routed returns x as the message to hand to the Transport: with a route to its broker, or without one, which is any
// of the bootstrap brokers.
func (x *exchange) routed() protocol.Message {
	if x.broker < 0 {
		return x
	}
	return toBroker{x}
}

// toBroker is an exchange with one certain broker. The Transport asks for its id alone and must know it already.
type toBroker struct{ *exchange }

// Broker is part of protocol.BrokerMessage.
func (x toBroker) Broker(protocol.Cluster) (protocol.Broker, error) {
	return protocol.Broker{ID: x.broker}, nil
}

// Required is part of protocol.RawExchanger.
func (x *exchange) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange is part of protocol.RawExchanger. Any error it returns makes the library close the connection.
func (x *exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if x.renew {
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

// abort gives the exchange up, now and for ever, wherever it is.
func (x *exchange) abort() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.aborted = true
	if x.conn != nil {
		_ = x.conn.SetDeadline(time.Unix(1, 0)) // if that fails, the connection is dead already
	}
	if x.ended { // the response came just before
		x.drop()
	}
}

func (x *exchange) begin(rw io.ReadWriter) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn, _ = rw.(deadliner)
	return !x.aborted
}

// end reports whether there is a response and the connection may be used again: abort has not touched its deadline.
func (x *exchange) end(err error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn, x.ended = nil, true
	if err != nil || x.aborted {
		x.drop()
		return false
	}
	return true
}

// drop gives the response back.
func (x *exchange) drop() {
	if x.buffers != nil {
		x.buffers.frameBack(x.response)
	}
	x.response = nil
}

const correlation = 0x6b737472 // one request at a time on a connection: the number is only checked

func (x *exchange) roundTrip(rw io.ReadWriter) error {
	flexible := x.flexible()
	w := writer{b: make([]byte, 0, 64+len(x.body))}
	w.i32(0) // length, below
	w.i16(x.key)
	w.i16(x.version)
	w.i32(correlation)
	w.string(x.clientID) // not compact, whatever the version (KIP-482)
	w.flexible = flexible
	w.tags()
	w.b = append(w.b, x.body...)
	binary.BigEndian.PutUint32(w.b, uint32(len(w.b)-4))
	if _, err := rw.Write(w.b); err != nil {
		return err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return unexpected(err)
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size < 4 || size > maxFrame {
		return fmt.Errorf("a response of %d bytes is not Kafka's: does the port expect TLS, or belong to another service?", size)
	}
	if id := binary.BigEndian.Uint32(head[4:]); id != correlation {
		return fmt.Errorf("the response has the number %d of another request", id)
	}
	return unexpected(x.readFrame(rw, int(size)-4))
}

// flexible tells whether the header has a tag section. Versions of the requests that are made here.
func (x *exchange) flexible() bool { return flexibleVersion(x.key, x.version) }

func flexibleVersion(key, version int16) bool {
	switch key {
	case keyFetch:
		return version >= 12
	case keyMetadata:
		return version >= 9
	}
	return false
}

// payload returns a reader of the response behind its header.
func (x *exchange) payload() reader {
	r := reader{b: x.response, flexible: x.flexible()}
	r.tags(nil)
	return r
}

// readFrame reads n bytes into the response, which grows as bytes arrive: a length that lies allocates little.
func (x *exchange) readFrame(rd io.Reader, n int) error {
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
		x.drop()
		x.response = grown
	}
}

func (x *exchange) frame(n int) []byte {
	if x.buffers == nil {
		return make([]byte, n)
	}
	return x.buffers.frame(n)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
