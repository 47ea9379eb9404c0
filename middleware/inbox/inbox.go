// Package inbox lets a handler that writes to a database apply each message once. The handler records the identity of the message
// in the transaction of its own effect: both are committed, or neither. When the message is redelivered, after a crash or a
// hand-over, [Inbox.Seen] finds the identity and the handler returns without an effect.
//
//	func (h handler) Handle(ctx context.Context, m *keystrand.Message) error {
//		tx, err := h.db.BeginTx(ctx, nil)
//		if err != nil {
//			return err
//		}
//		defer tx.Rollback()
//		if seen, err := h.inbox.Seen(ctx, tx, m); err != nil || seen {
//			return err
//		}
//		// ... the effect, in tx ...
//		return tx.Commit()
//	}
//
// If the answer to the commit is lost, the handler returns the error, and the next attempt learns from Seen which way it ended.
//
// Databases are PostgreSQL and MariaDB 10.5 or later, by database/sql and any driver. The table is made by the user, from
// [Schema].
//
// # Identity
//
// A message is identified by the name of the consumer, the stream, the partition, the offset, the identity of the log
// ([keystrand.LogOf]), and [keystrand.Message].Time.
//
// A topic that is deleted and made again uses its offsets again, for other messages. The identity of the log tells them apart: on
// Kafka it is the id of the topic, on Pulsar the cluster, where no offset is ever used again. Where a source has no such
// identity, the time of the message tells them apart, unless producers give messages of both topics the same time, or none.
// Delete the rows of the consumer then before the topic is made again.
//
// Another identity makes a message a new one. So do not change the name of a consumer, or Cluster of the Pulsar source (which by
// default is the host of its URL), while messages may be redelivered, nor the time of a message before Seen.
//
// The package does not find a message that a producer has sent twice: it has two offsets.
package inbox

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/keystrand/keystrand"
)

// Inbox records the messages of one consumer.
//
// An Inbox is safe for concurrent use.
type Inbox struct {
	consumer   string
	statements statements
}

// longestName is the longest name of a consumer that the table takes.
const longestName = 255

// New returns the inbox of a consumer. The name is that of the group, or of the handler if a group has several: two consumers
// with one name take the messages away from each other.
func New(d Dialect, consumer string) (*Inbox, error) {
	s, known := statementsOf(d)
	var errs []error
	if !known {
		errs = append(errs, fmt.Errorf("inbox: unknown dialect %d: use PostgreSQL or MariaDB", d))
	}
	if n := len(consumer); n == 0 || n > longestName {
		errs = append(errs, fmt.Errorf("inbox: the name of the consumer has %d bytes: it must have 1 to %d", n, longestName))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Inbox{consumer, s}, nil
}

// Seen records m in tx. It reports whether a transaction that was committed, or tx itself, has recorded m before: the handler
// then returns without an effect.
//
// The effect must be in tx, too. If another transaction has recorded m and has not ended, Seen waits for it, and reports true if
// it commits. So two owners of a partition, of which one has lost it and goes on, have the effect once.
//
// ctx must be the ctx of the handler, or derived from it: it has the identity of the log. After an error roll tx back and
// return the error. Among them are deadlocks and, if tx is isolated as REPEATABLE READ or SERIALIZABLE, failures to serialize:
// another attempt resolves them.
func (b *Inbox) Seen(ctx context.Context, tx *sql.Tx, m *keystrand.Message) (bool, error) {
	log, ok := keystrand.LogOf(ctx)
	if !ok {
		return false, fmt.Errorf("inbox: %s/%d@%d: the ctx is not that of a handler: pass the ctx that Handle got, or one of keystrand.WithLog in a test", m.Stream, m.Partition, m.Offset)
	}
	var repeats int64
	err := tx.QueryRowContext(ctx, b.statements.record, []byte(b.consumer), place(m, log), m.Offset, nanoseconds(m.Time)).Scan(&repeats)
	if err != nil {
		return false, fmt.Errorf("inbox: record %s/%d@%d for consumer %q (the table is made from inbox.Schema): %w", m.Stream, m.Partition, m.Offset, b.consumer, err)
	}
	return repeats > 0, nil
}

// place identifies the log of a partition. Names have any bytes and any length, and the hash has one length. The records of a
// partition are neighbours in the index, in the order of their offsets.
func place(m *keystrand.Message, log string) []byte {
	b := make([]byte, 0, 64)
	b = binary.BigEndian.AppendUint32(b, uint32(m.Partition)) // the same bits
	b = binary.BigEndian.AppendUint64(b, uint64(len(m.Stream)))
	b = append(append(b, m.Stream...), log...)
	sum := sha256.Sum256(b)
	return sum[:]
}

// nanoseconds returns a number that differs for times of any two messages within 292 years of 1970. Others are still equal for
// equal times, which is enough.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()*int64(time.Second) + int64(t.Nanosecond())
}
