package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

// eventCount is how many events go-mysql reads ahead. It counts events, whatever their size.
const eventCount = 64

// reader reads the log by one connection. It implements demux.Reader.
//
// Owns: the goroutine of go-mysql that reads the connection and finds the bounds of events. Rows are decoded by Next.
type reader struct {
	log        *log
	facts      facts
	collations map[uint64]collation
	id         uint32 // server id
	after      place  // where it began

	link   link
	ahead  *ahead
	syncer *replication.BinlogSyncer
	stream *replication.BinlogStreamer
	closed sync.Once

	rest    []*replication.BinlogEvent // read before the connection failed
	broken  error                      // why it failed
	inner   []*replication.BinlogEvent // of a compressed transaction
	payload bool                       // the event at hand is one of these
	again   *replication.BinlogEvent   // Next has failed while it handled this one

	describer *replication.BinlogParser // of tables
	checksums bool                      // events end with one

	position
	transaction
	settled settled
	tables  map[string]*known // by "database.table"
	byID    map[uint64]*known // by the log's numbers, those of the open statement; nil: not wanted
	fresh   map[*known]bool   // their keys were read at a place that is not passed yet
	scratch []byte            // for names
	bytes   int               // read since the last event
	queue   []demux.Event     // to be returned by Next
	next    int               // index in queue
	failed  error             // of all further calls of Next
}

// known is a table that the reader has met, wanted or not.
type known struct {
	database, name string
	full           string // as names.Join has it
	wanted         bool
	keys           *keys
	table          *table // nil: not described yet
}

func newReader(l *log, f facts, collations map[uint64]collation, after place, tables map[string]demux.Known) *reader {
	r := &reader{
		log:        l,
		facts:      f,
		collations: collations,
		id:         l.takeID(),
		after:      after,
		link:       link{dialer: l.cfg.Dial, timeout: 3 * l.cfg.Heartbeat},
		tables:     make(map[string]*known, len(tables)),
		byID:       make(map[uint64]*known),
		settled:    make(settled),
		fresh:      make(map[*known]bool),
		ahead:      newAhead(),
	}
	for full, t := range tables {
		if t.State == "" {
			continue
		}
		database, name, _ := names.Cut(full)
		k := r.known(database, name)
		k.keys = parseKeys(t.State)
		r.fresh[k] = k.keys.behind != nil
	}
	return r
}

// start connects and asks for the log.
func (r *reader) start(ctx context.Context) error {
	if err := r.position.begin(r.after, r.facts); err != nil {
		return err
	}
	cfg := &r.log.cfg
	r.syncer = replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID:                r.id,
		Flavor:                  r.facts.flavor(),
		Host:                    r.log.addr,
		User:                    cfg.User,
		Password:                cfg.Password,
		TLSConfig:               cfg.TLS,
		TimestampStringLocation: time.UTC,
		RenderJSONAsMySQLText:   true,
		HeartbeatPeriod:         cfg.Heartbeat,
		ReadTimeout:             3 * cfg.Heartbeat,
		DisableRetrySync:        true, // it would send a transaction again from its start, without a word
		VerifyChecksum:          true,
		Logger:                  slog.New(slog.DiscardHandler),
		Dialer:                  r.link.dial,
		DiscardGTIDSet:          true,
		EventCacheCount:         eventCount,
		FillZeroLogPos:          cfg.FilePosition,
		RowsEventDecodeFunc: func(ev *replication.RowsEvent, data []byte) error {
			err := decodeLater(ev, data)
			if err == nil {
				r.ahead.add(r.counts(ev))
			}
			return err
		},
		// Most descriptions of tables repeat the one before.
		TableMapOptionalMetaDecodeFunc: func([]byte) error { return nil },
	})
	stop := context.AfterFunc(ctx, r.link.close)
	var err error
	switch p := r.after.(type) {
	case mariadbPlace:
		r.stream, err = r.syncer.StartSyncGTID(p.set())
	case mysqlPlace:
		r.stream, err = r.syncer.StartSyncGTID(p.gtids.Clone())
	case filePlace:
		r.stream, err = r.syncer.StartSync(gomysql.Position{Name: p.file, Pos: uint32(p.pos)})
	}
	if !stop() {
		return context.Cause(ctx)
	}
	if err != nil {
		return r.explain(ctx, startError{err})
	}
	r.link.search()
	return nil
}

// Next implements demux.Reader.
func (r *reader) Next(ctx context.Context) (*demux.Event, error) {
	for {
		if r.next < len(r.queue) {
			r.next++
			return &r.queue[r.next-1], nil
		}
		clear(r.queue)
		r.queue, r.next = r.queue[:0], 0
		if r.failed != nil {
			return nil, r.failed
		}
		e := r.again
		r.again = nil
		if e == nil {
			var err error
			if e, err = r.event(ctx); err != nil {
				if ctx.Err() == nil {
					r.failed = err
				}
				return nil, err
			}
		}
		if err := r.handle(ctx, e); ctx.Err() != nil && err != nil {
			r.again = e
			return nil, context.Cause(ctx)
		} else if err != nil {
			r.failed = err
		}
	}
}

// event returns the next event of the log.
func (r *reader) event(ctx context.Context) (*replication.BinlogEvent, error) {
	if len(r.inner) > 0 {
		e := r.inner[0]
		r.inner, r.payload = r.inner[1:], true
		return e, nil
	}
	r.payload = false
	if r.broken == nil {
		e, err := r.stream.GetEvent(ctx)
		if err == nil {
			return r.taken(e), nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		r.broken, r.rest = err, r.stream.DumpEvents() // it returns the error before events that came earlier
	}
	if len(r.rest) > 0 {
		e := r.rest[0]
		r.rest = r.rest[1:]
		return r.taken(e), nil
	}
	return nil, r.explain(ctx, r.broken)
}

// taken notes an event that go-mysql has read.
func (r *reader) taken(e *replication.BinlogEvent) *replication.BinlogEvent {
	if ev, ok := e.Event.(*replication.RowsEvent); ok {
		r.ahead.sub(r.counts(ev))
	}
	r.bytes += int(e.Header.EventSize)
	r.position.advance(e)
	return e
}

// counts returns the bytes of rows that count in ahead. Those of a compressed transaction of MySQL are decoded together, so they
// cannot wait for each other.
func (r *reader) counts(e *replication.RowsEvent) int {
	if !r.facts.mariadb() {
		return 0
	}
	return len(e.NdbData)
}

// Close implements demux.Reader.
func (r *reader) Close() error {
	r.closed.Do(func() {
		r.link.close()
		r.ahead.end()
		if r.syncer != nil {
			r.syncer.Close()
		}
		r.log.giveID(r.id)
	})
	return nil
}

// push adds an event to those that Next returns.
func (r *reader) push(e demux.Event) {
	e.Bytes, r.bytes = r.bytes, 0
	r.queue = append(r.queue, e)
}

// fault stops a table at rows that cannot be read. It is told again for each such event: the table may have settled this one.
func (r *reader) fault(k *known, rows int, err error) {
	r.push(demux.Event{
		Kind: demux.Fault, Table: k.full, Place: r.alone, Count: rows, Err: r.at(fmt.Errorf("table %s: %w", k.full, err)),
	})
}

// faultAll stops all tables.
func (r *reader) faultAll(err error) {
	r.failed = r.at(err)
	r.push(demux.Event{Kind: demux.Fault, Place: r.alone, Err: r.failed})
}

// at adds to an error where it was met.
func (r *reader) at(err error) error {
	return fmt.Errorf("server %s: %s, position %d%s: %w", r.log.addr, r.file, r.pos, r.transaction.describe(), err)
}

// explain adds to an error of the connection what helps. It asks the server for it where that is useful.
func (r *reader) explain(ctx context.Context, err error) error {
	if n, _ := code(err); n == 0 && temporary(err) {
		return fmt.Errorf("server %s: %w", r.log.addr, err)
	} else if n == 0 {
		return r.at(fmt.Errorf("behind it: the log cannot be read: %w", shorten(err)))
	}
	oldest := "and the oldest that it has is not known"
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if p, e := r.log.server.oldest(ctx, r.facts); e == nil {
		oldest = fmt.Sprintf("and the oldest that it has is %v", p)
	}
	return explain(err, r.log.addr, r.id, r.after, oldest)
}

// shorten cuts the dumps of memory and stacks that go-mysql puts into errors.
func shorten(err error) error {
	const most = 300
	text, _, _ := strings.Cut(err.Error(), "\n")
	if len(text) <= most {
		if len(text) == len(err.Error()) {
			return err
		}
		return errors.New(text)
	}
	return errors.New(strings.ToValidUTF8(text[:most], "") + "...")
}

// known returns the table of that name.
func (r *reader) known(database, name string) *known {
	full := names.Join(database, name)
	k := r.tables[full]
	if k == nil {
		k = &known{database: database, name: name, full: full, wanted: r.log.filter.Wants(database, name), keys: &keys{}}
		r.tables[k.full] = k
	}
	return k
}
