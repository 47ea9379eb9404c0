package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/names"
	"github.com/keystrand/keystrand/source/binlog/mysql/internal/statement"
)

var (
	errIncomplete = errors.New("the log goes on in the middle of the transaction: the server lost the rest: " + anew)
	errRolledBack = errors.New("the transaction was rolled back after its rows were logged: " + anew)
	errIncident   = errors.New("the server has told that its log misses events: " + anew)
	errNoGTID     = errors.New("the transaction has no GTID: set gtid_mode to ON, or read by Config.FilePosition")
)

// handle adds to the queue what an event of the log tells. An error is final for the reader, unless ctx has ended: then handle
// may be called again with the same event.
func (r *reader) handle(ctx context.Context, e *replication.BinlogEvent) error {
	switch ev := e.Event.(type) {
	case *replication.TableMapEvent:
		r.describe(e, ev)
	case *replication.RowsEvent:
		return r.rows(ctx, e, ev)
	case *replication.QueryEvent:
		return r.query(ctx, e.Header, ev)
	case *replication.XIDEvent:
		r.end(e.Header)
	case *replication.MariadbGTIDEvent:
		return r.begin(ofMariadb(e, ev, r.checksums), func() {
			r.enterMariadb(ev.GTID)
			r.passes(ev.GTID)
		})
	case *replication.GtidTaggedLogEvent:
		return r.begin(ofMysql(e, &ev.GTIDEvent, false), func() { r.enterMysql(&ev.GTIDEvent) })
	case *replication.GTIDEvent:
		anonymous := e.Header.EventType == replication.ANONYMOUS_GTID_EVENT
		if anonymous && !r.log.cfg.FilePosition {
			return r.at(errNoGTID)
		}
		return r.begin(ofMysql(e, ev, anonymous), func() { r.enterMysql(ev) })
	case *replication.TransactionPayloadEvent:
		r.inner = ev.Events
	case *replication.FormatDescriptionEvent:
		return r.format(e, ev)
	case *replication.HeartbeatEvent:
		r.link.searching.Store(false)
		if !r.open {
			r.push(demux.Event{Kind: demux.Idle})
		}
	case *replication.ExecuteLoadQueryEvent:
		r.load(e, ev)
	default:
		return r.other(e)
	}
	return nil
}

// begin begins a transaction.
func (r *reader) begin(t transaction, enter func()) error {
	if r.open {
		return r.at(errIncomplete)
	}
	r.link.searching.Store(false)
	r.transaction = t
	if r.log.cfg.FilePosition {
		r.alone = ""
	}
	if r.name == "" {
		r.name = fmt.Sprintf("%s:%d", r.file, r.pos)
	}
	enter()
	return nil
}

// end ends the transaction at hand.
func (r *reader) end(h *replication.EventHeader) {
	for k, fresh := range r.fresh {
		if !fresh {
			delete(r.fresh, k)
			continue
		}
		if ok, err := r.behind().reached(k.keys.behind); ok || err != nil {
			delete(r.fresh, k)
			r.define(k, k.keys.passed())
		}
	}
	if r.time.IsZero() {
		r.time = seconds(h)
	}
	r.push(demux.Event{Kind: demux.End, Time: r.time, Place: r.position.end()})
	r.transaction = transaction{}
}

// define sets the keys of a table, and tells its new state.
func (r *reader) define(k *known, to *keys) {
	k.keys = to
	r.push(demux.Event{Kind: demux.Defined, Table: k.full, State: to.state()})
}

// format handles the beginning of a file.
func (r *reader) format(e *replication.BinlogEvent, f *replication.FormatDescriptionEvent) error {
	if r.open {
		return r.at(errIncomplete)
	}
	r.checksums = f.ChecksumAlgorithm == replication.BINLOG_CHECKSUM_ALG_CRC32
	r.describer = replication.NewBinlogParser()
	r.describer.SetFlavor(r.facts.flavor())
	if _, err := r.describer.Parse(e.RawData); err != nil {
		return r.at(shorten(err))
	}
	return nil
}

// query handles a statement.
func (r *reader) query(ctx context.Context, h *replication.EventHeader, q *replication.QueryEvent) error {
	switch {
	case bytes.Equal(q.Query, []byte("BEGIN")):
		r.open = true
		return nil
	case bytes.Equal(q.Query, []byte("COMMIT")):
		r.end(h)
		return nil
	}
	if !r.begun && !r.open { // the log of a server without GTIDs
		r.transaction = transaction{name: fmt.Sprintf("%s:%d", r.file, r.pos)}
	}
	if r.phase { // the text comes again if it happens
		r.end(h)
		return nil
	}
	text, s := r.parse(q)
	switch s.Kind {
	case statement.Begin:
		r.open = true
		return nil
	case statement.XAStart:
		r.open, r.xid = true, s.XID
		return nil
	case statement.Savepoint, statement.XAEnd:
		return nil
	case statement.Rollback, statement.RollbackTo:
		if r.transaction.rows > 0 {
			r.faultAll(errRolledBack)
			return nil
		}
		if s.Kind == statement.RollbackTo {
			return nil
		}
		r.end(h)
		return nil
	case statement.Commit:
		r.end(h)
		return nil
	case statement.XAOutcome:
		r.log.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "the outcome of an XA transaction came; wanted rows of it, if any, are "+
			"older than this copy", slog.String("statement", text), slog.String("transaction", r.name))
		r.end(h)
		return nil
	case statement.Change:
		r.change(s.Tables, text)
	case statement.Definition, statement.Unknown:
		r.definition(s.Tables, string(q.Schema), text)
		r.open = r.open || s.Open
	case statement.Other:
	}
	if !r.open {
		r.end(h)
	}
	return nil
}

// parse returns the text of a statement in UTF-8, and what it does. A text that cannot be decoded stays as it is, and may concern
// any table.
func (r *reader) parse(q *replication.QueryEvent) (string, statement.Statement) {
	text, session := string(q.Query), sessionOf(q.StatusVars)
	if c, known := r.collations[session.collation]; known && !isASCII(text) {
		decode, err := decoderOf(c.charset)
		if err == nil && decode != nil {
			text, err = decode(text)
		}
		if err != nil {
			return string(q.Query), statement.Statement{}
		}
	}
	session.mode.MariaDB = r.facts.mariadb()
	return text, statement.Parse(text, string(q.Schema), session.mode)
}

// change stops the tables whose rows a statement has changed: their rows are not in the log.
func (r *reader) change(tables []string, query string) {
	err := fmt.Errorf("the log has a statement instead of its rows, because a session has set binlog_format: forbid that: %.200q", query)
	if tables == nil {
		r.faultAll(fmt.Errorf("%w; %s", err, anew))
		return
	}
	for _, full := range r.fold(tables) {
		database, name, _ := names.Cut(full)
		if k := r.known(database, name); k.wanted {
			r.fault(k, 0, err)
		}
	}
}

// definition hands out a statement that changes the definition of wanted tables, and forgets their keys.
func (r *reader) definition(tables []string, database, query string) {
	tables = r.fold(tables)
	concerned := tables == nil
	for _, full := range tables {
		in, name, _ := names.Cut(full)
		concerned = concerned || name == "*" || r.log.filter.Wants(in, name)
	}
	if !concerned {
		return
	}
	for _, k := range r.tables {
		if !k.wanted || tables != nil && !concerns(tables, k) {
			continue
		}
		delete(r.fresh, k)
		if stale := k.keys.stale(); stale != k.keys {
			r.define(k, stale)
		}
	}
	r.push(demux.Event{Kind: demux.Statement, Time: r.time, Place: r.alone, DDL: &binlog.DDL{
		Database:    database,
		Query:       query,
		Tables:      tables,
		Transaction: r.name,
	}})
}

// concerns reports whether names of tables, or of all tables of a database, have this one.
func concerns(tables []string, k *known) bool {
	for _, full := range tables {
		if full == k.full || full == names.Join(k.database, "*") {
			return true
		}
	}
	return false
}

// fold returns names as the log spells them before rows.
func (r *reader) fold(tables []string) []string {
	if !r.facts.foldsNames() {
		return tables
	}
	for i := range tables {
		tables[i] = strings.ToLower(tables[i])
	}
	return tables
}

// load handles LOAD DATA, whose text stands behind the status variables and the database.
func (r *reader) load(e *replication.BinlogEvent, ev *replication.ExecuteLoadQueryEvent) {
	const fixed = 26
	body := e.RawData[replication.EventHeaderSize:]
	if r.checksums {
		body = body[:len(body)-4]
	}
	at := fixed + int(ev.StatusVars)
	if len(body) < at+int(ev.SchemaLength)+1 {
		r.change(nil, "LOAD DATA")
		return
	}
	database, query := string(body[at:at+int(ev.SchemaLength)]), string(body[at+int(ev.SchemaLength)+1:])
	s := statement.Parse(query, database, statement.Mode{MariaDB: r.facts.mariadb()})
	if s.Kind != statement.Change {
		s.Tables = nil
	}
	r.change(s.Tables, query)
}

// other handles events that tell nothing of rows.
func (r *reader) other(e *replication.BinlogEvent) error {
	switch e.Header.EventType { //nolint:exhaustive // all others are not known
	case replication.XA_PREPARE_LOG_EVENT:
		r.end(e.Header)
		return nil
	case replication.INCIDENT_EVENT:
		r.faultAll(errIncident)
		return nil
	case replication.ROTATE_EVENT, replication.STOP_EVENT, replication.PREVIOUS_GTIDS_EVENT, replication.MARIADB_GTID_LIST_EVENT,
		replication.MARIADB_BINLOG_CHECKPOINT_EVENT, replication.MARIADB_START_ENCRYPTION_EVENT,
		replication.ROWS_QUERY_EVENT, replication.MARIADB_ANNOTATE_ROWS_EVENT, replication.IGNORABLE_EVENT,
		replication.TRANSACTION_CONTEXT_EVENT, replication.VIEW_CHANGE_EVENT,
		// What a statement needs that follows.
		replication.INTVAR_EVENT, replication.RAND_EVENT, replication.USER_VAR_EVENT,
		replication.BEGIN_LOAD_QUERY_EVENT, replication.APPEND_BLOCK_EVENT, replication.DELETE_FILE_EVENT:
		return nil
	}
	if e.Header.Flags&replication.LOG_EVENT_IGNORABLE_F != 0 {
		return nil
	}
	return r.at(fmt.Errorf("the log has an event of type %d, %v, which is not known: read from a server of an earlier version",
		e.Header.EventType, e.Header.EventType))
}
