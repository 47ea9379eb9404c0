package group

import (
	"context"
	"errors"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// The requests of a member (https://kafka.apache.org/protocol#protocol_api_keys), in versions that Kafka 2.0 to 4.x support.
const (
	keyFindCoordinator = 10
	keyJoinGroup       = 11
	keyHeartbeat       = 12
	keyLeaveGroup      = 13
	keySyncGroup       = 14

	version    = 1 // of all but JoinGroup
	oldestJoin = 2
	newestJoin = 4 // asks a new member to join again with the id that the coordinator chose
)

// coordinator sends requests to the broker that coordinates the group. It looks for that broker again after an error.
//
// A request does not depend on a connection: if the broker closes one, because it restarts or because a SASL session has
// expired, the request is sent again over another.
//
// A coordinator is safe for concurrent use.
type coordinator struct {
	client wire.Client
	group  string

	mu    sync.Mutex
	known bool
	id    int32
	join  int16 // version of JoinGroup
}

// do sends a request and returns the response after throttle time and error code. It blocks for at most wait more than the
// client's timeout.
func (c *coordinator) do(ctx context.Context, key, v int16, body []byte, wait time.Duration) (wire.Reader, error) {
	broker, err := c.find(ctx)
	if err != nil {
		return wire.Reader{}, err
	}
	r, err := c.ask(ctx, &wire.Exchange{Key: key, Version: v, Broker: broker, Body: body}, wait)
	if err != nil && moved(err) {
		c.forget()
	}
	return r, err
}

func (c *coordinator) ask(ctx context.Context, x *wire.Exchange, wait time.Duration) (wire.Reader, error) {
	if err := c.client.Do(ctx, x, wait); err != nil {
		return wire.Reader{}, err
	}
	r := x.Payload()
	r.I32() // throttled
	code := r.I16()
	if r.Err != nil {
		return r, wire.Malformed("group", r.Err)
	}
	return r, wire.CodeError(code)
}

// find returns the id of the coordinator.
func (c *coordinator) find(ctx context.Context) (int32, error) {
	c.mu.Lock()
	known, id := c.known, c.id
	c.mu.Unlock()
	if known {
		return id, nil
	}
	var w wire.Writer
	w.Text(c.group)
	w.I8(0) // of a group
	r, err := c.ask(ctx, &wire.Exchange{Key: keyFindCoordinator, Version: version, Broker: -1, Body: w.B}, 0)
	if err != nil {
		return 0, err
	}
	r.Text() // message of the error
	if id = r.I32(); r.Err != nil {
		return 0, wire.Malformed("FindCoordinator", r.Err)
	}
	supported, err := c.client.Versions(ctx, id)
	if err != nil {
		return 0, err
	}
	join, err := supported.Choose(keyJoinGroup, oldestJoin, newestJoin)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.known, c.id, c.join = true, id, join
	c.mu.Unlock()
	return id, nil
}

func (c *coordinator) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = false
}

// joinVersion returns the version of JoinGroup, after find.
func (c *coordinator) joinVersion() int16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.join
}

// moved reports whether err may mean that another broker is the coordinator now: it says so, or it does not answer.
func moved(err error) bool {
	code, answered := errors.AsType[kafkago.Error](err)
	return !answered || code == kafkago.NotCoordinatorForGroup || code == kafkago.GroupCoordinatorNotAvailable ||
		code == kafkago.BrokerNotAvailable
}
