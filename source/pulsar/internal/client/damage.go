package client

import (
	"fmt"
	"math"
	"reflect"
)

// Lines about a message that the library cannot read.
const (
	discards = "Discarding corrupted message" // of the consumer; the library acknowledges the message next
	explains = "handle message Id: "          // beginning of it; of the connection, right after the acknowledgement
)

// damaged is a message that the library could not read.
type damaged struct {
	topic, subscription string
	ledger, entry       int64
}

// discarded reports a message that the library is about to acknowledge because it cannot read it, and keeps the
// acknowledgement from having an effect. It runs on the goroutine that reads the connection: no later message has arrived.
func (l line) discarded() {
	ledger, entry, ok := disown(l.fields["msgID"])
	if !ok || l.On.Unreadable == nil {
		return
	}
	d := damaged{topic: l.field("topic"), subscription: l.field("subscription"), ledger: ledger, entry: entry}
	l.mu.Lock()
	l.damaged[fmt.Sprint(l.fields["consumerID"])] = d
	l.mu.Unlock()
	l.On.Unreadable(d.topic, d.subscription, ledger, entry, fmt.Errorf("%v", l.fields["validationError"]), false)
}

// explained reports why the last discarded message of a consumer cannot be read.
func (l line) explained() {
	consumer := fmt.Sprint(l.fields["consumerID"])
	l.mu.Lock()
	d, known := l.damaged[consumer]
	delete(l.damaged, consumer)
	l.mu.Unlock()
	if err, ok := l.fields["error"].(error); ok && known {
		l.On.Unreadable(d.topic, d.subscription, d.ledger, d.entry, err, true)
	}
}

// disown returns the position in an id of a message, and changes the id to a position before all messages. The library
// acknowledges the id that is in its line: it acknowledges nothing then. The id has a type that the library does not export.
func disown(id any) (ledger, entry int64, ok bool) {
	v := reflect.ValueOf(id)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return 0, 0, false
	}
	for _, part := range []struct {
		name string
		to   *int64
	}{{"LedgerId", &ledger}, {"EntryId", &entry}} {
		f := v.Elem().FieldByName(part.name)
		if !f.IsValid() || f.Kind() != reflect.Pointer || f.IsNil() || !f.Elem().CanSet() || f.Elem().Kind() != reflect.Uint64 {
			return 0, 0, false
		}
		*part.to = int64(f.Elem().Uint()) //nolint:gosec // brokers count with signed numbers
		f.Elem().SetUint(math.MaxUint64)  // -1 for the broker
	}
	return ledger, entry, true
}
