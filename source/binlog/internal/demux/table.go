package demux

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/internal/tenure"
)

// table is one ownership of a table. It implements [source.Partition] and [source.Lagger].
//
// A reader of the log puts rows into its queue, and Fetch takes them out. See push for the readers, and hand for Fetch.
type table struct {
	ses      *session
	name     string // database.table
	begun    int64  // number of the transaction end behind which the shared reader met it
	id       source.ID
	restored *commit.Progress
	tenure   *tenure.Tenure
	part     part // settled, whatever the numbers are

	wake   chan struct{} // room for one: there is something for Fetch
	roomed chan struct{} // room for one: Fetch has made room, or the table is over
	stored atomic.Int64  // frontier of the last commit

	// Of the goroutine in Fetch.
	mine       []chunk       // taken from queue
	at         int           // mine[:at] are handed out
	given      int64         // bytes of what was handed out and still counts
	reach      int64         // the position once mine is handed out
	definition *binlog.Table // of the last row; nil: a statement came after it
	hold       int64         // the frontier that must be stored before the next message, because of a statement
	position   atomic.Int64  // also read by End

	mu      sync.Mutex
	way     way
	queue   []chunk
	bytes   int64     // of queue and mine
	next    int64     // of the next row to take: those below are queued or settled
	end     int64     // after the last row in the queue, or at least restored.Frontier
	marks   marks     // where a restart may begin
	state   string    // what the log has told, up to the last mark
	told    string    // what the log has told behind the last mark
	toldAt  int64     // the number of the transaction end from which told counts; 0: told does not count
	after   Place     // rows up to this place are settled, wherever their numbers are; empty: next says so
	from    mark      // where a reader of its own begins
	dropped int64     // the shared reader has dropped what the table wants up to this number
	refused bool      // there was no room, and Fetch has made none since
	fault   error     // behind the queue
	final   bool      // Fetch returns the fault: it is not of this table alone
	seen    int64     // next, when idle tables were last moved
	idle    bool      // it had no rows since the time before
	since   time.Time // when the table fell behind, or met the fault
	misses  string    // the table that this one waits for at a statement; empty: none
	missed  time.Time // since when
}

// way is how a table gets its rows.
type way uint8

const (
	shared way = iota // from the shared reader
	behind            // from nobody: it waits for a reader of its own
	apart             // from a reader of its own
	over              // from nobody: it is released, lost or stopped by a fault
)

// chunk is a piece of a queue: rows of one event, or a statement.
type chunk struct {
	rows   []binlog.Row
	ddl    *binlog.DDL
	meets  []string // the wanted tables of ddl, the applier first
	first  int64    // number of the first row, or of the statement
	time   time.Time
	bytes  int64
	sealed bool
}

// after returns the number behind a chunk.
func (c *chunk) after() int64 {
	if c.ddl != nil {
		return c.first + 1
	}
	return c.first + int64(len(c.rows))
}

// cut drops what is below a number. It reports whether nothing is left.
func (c *chunk) cut(number int64) bool {
	switch {
	case c.after() <= number:
		return true
	case c.first < number:
		c.rows, c.first = c.rows[number-c.first:], number
	}
	return false
}

// newTable makes a table that begins at a mark, with restored progress.
func newTable(ses *session, name string, restored *commit.Progress, begin mark) *table {
	t := &table{
		ses:    ses,
		name:   name,
		id:     source.ID{Stream: ses.s.prefix + name},
		wake:   make(chan struct{}, 1),
		roomed: make(chan struct{}, 1),
		part:   begin.Part,
	}
	t.restore(restored, begin)
	return t
}

// restore sets progress and begin of a table that is not offered yet.
func (t *table) restore(p *commit.Progress, begin mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id.Epoch, t.restored = p.Epoch, p
	t.tenure = tenure.New(t.ses.s.cfg.Package, t.id, p.Frontier)
	t.position.Store(p.Frontier)
	t.stored.Store(p.Frontier)
	t.next, t.end = p.Frontier, p.Frontier
	t.marks, t.state, t.from = marks{begin}, begin.State, begin
	if begin.Unnumbered {
		t.after = begin.Place
	}
}

// ID implements [source.Partition].
func (t *table) ID() source.ID { return t.id }

// Restored implements [source.Partition].
func (t *table) Restored() *commit.Progress { return t.restored }

// Leaving implements [source.Partition]. A revoked table has no deadline.
func (t *table) Leaving() <-chan source.Leave { return t.tenure.Leaving() }

// End implements [source.Lagger]. For a table that is behind, it is the end of what the shared reader has dropped: nobody knows
// how many rows of the table are below it.
func (t *table) End() (int64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := max(t.end, t.position.Load())
	if t.way == behind || t.way == apart {
		end = max(end, t.dropped+1)
	}
	return end, true
}

// Commit implements [source.Partition].
func (t *table) Commit(ctx context.Context, p *commit.Progress) (commit.Stored, error) {
	if err := t.tenure.Commit(p.Frontier); err != nil {
		return commit.Stored{}, err
	}
	own := *p
	own.Log, own.Epoch = t.restored.Log, t.id.Epoch
	most := min(p.Frontier, t.ses.registered())
	t.mu.Lock()
	own.At = t.marks.below(most).at(p.Frontier, t.ses.filter).text()
	t.mu.Unlock()
	err := t.ses.s.cfg.Store.Save(ctx, t.id.Stream, t.id.Partition, &own)
	if errors.Is(err, commit.ErrFenced) {
		t.lose("the store refuses its commit: it has a newer owner, or the row was deleted")
	}
	if err != nil {
		return commit.Stored{}, fmt.Errorf("%s: save progress of %v at offset %d: %w", t.ses.s.cfg.Package, t.id, p.Frontier, err)
	}
	t.stored.Store(p.Frontier)
	poke(t.wake) // it may wait to hand out a statement
	t.ses.wakeMeeting()
	return commit.Stored{Frontier: p.Frontier}, nil
}

// Release implements [source.Partition]. It does not block.
func (t *table) Release(context.Context) error {
	if err := t.tenure.Release(); err != nil {
		return err
	}
	t.drop()
	t.ses.s.released(t)
	return nil
}

// lose tells the pipeline that the table is lost.
func (t *table) lose(why string) {
	if t.tenure.LoseAfter(why, func() { t.ses.s.loses(t, why) }) {
		t.drop()
	}
}

// drop empties the queue. Nothing is queued after it.
func (t *table) drop() {
	t.mu.Lock()
	t.way, t.queue, t.fault = over, nil, nil
	t.holdsLocked(0)
	t.mu.Unlock()
	poke(t.wake)
	poke(t.roomed)
}

// holdsLocked records how many bytes the table holds.
func (t *table) holdsLocked(bytes int64) {
	s := t.ses.s
	s.held.Add(bytes - t.bytes)
	switch {
	case t.bytes == 0 && bytes > 0:
		s.full.Add(1)
	case t.bytes > 0 && bytes == 0:
		s.full.Add(-1)
	}
	t.bytes = bytes
}
