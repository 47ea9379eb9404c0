package client

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"
)

// wireID has the fields of the library's id of a message.
type wireID struct{ LedgerId, EntryId *uint64 } //nolint:revive // as the library names them

// The library acknowledges the id that is in its line, after the line.
func TestLogKeepsAnUnreadableMessageFromBeingAcknowledged(t *testing.T) {
	var heard []string
	l := NewLog(slog.New(slog.DiscardHandler), "", Events{
		Unreadable: func(topic, subscription string, ledger, entry int64, err error, full bool) {
			heard = append(heard, fmt.Sprint(topic, " ", subscription, " ", ledger, ":", entry, " ", err, " ", full))
		},
	})
	id := &wireID{new(uint64), new(uint64)}
	*id.LedgerId, *id.EntryId = 7, 3
	consumer := l.Logger().SubLogger(map[string]any{"topic": "t", "subscription": "s", "consumerID": uint64(5)})
	consumer.WithFields(map[string]any{"msgID": id, "validationError": "ChecksumMismatch"}).Error("Discarding corrupted message")
	if *id.LedgerId != math.MaxUint64 || *id.EntryId != math.MaxUint64 {
		t.Errorf("acknowledged %d:%d, want -1:-1", int64(*id.LedgerId), int64(*id.EntryId))
	}
	// Of another consumer, of ours, and of ours for another cause.
	for _, n := range []uint64{4, 5, 5} {
		l.Logger().WithError(errors.New("checksum mismatch: 1 and 2")).WithField("consumerID", n).Error("handle message Id: ", id)
	}
	if want := []string{"t s 7:3 ChecksumMismatch false", "t s 7:3 checksum mismatch: 1 and 2 true"}; !slices.Equal(heard, want) {
		t.Errorf("events %q, want %q", heard, want)
	}
	// An id of another form is left alone.
	consumer.WithFields(map[string]any{"msgID": "7:3"}).Error("Discarding corrupted message")
	consumer.WithFields(map[string]any{"msgID": &struct{ Ledger uint64 }{7}}).Error("Discarding corrupted message")
	if len(heard) != 2 {
		t.Errorf("events %q", heard[2:])
	}
}
