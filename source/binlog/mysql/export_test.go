package mysql

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// Log is the log of a server, with its connection for questions.
type Log interface {
	demux.Log
	Close() error
	Selected() binlog.Filter
}

func (l *log) Selected() binlog.Filter { return l.filter }

// NewLog returns the log of a server.
func NewLog(addr string, filter binlog.Filter, cfg Config) (Log, error) {
	cfg = cfg.withDefaults(addr)
	if err := cfg.validate(addr); err != nil {
		return nil, err
	}
	return newLog(addr, filter, cfg)
}

// Charsets returns the names of the character sets that are decoded.
func Charsets() []string { return slices.Sorted(maps.Keys(charsets)) }

// Decode returns a text of a character set in UTF-8.
func Decode(charset, text string) (string, error) {
	decode, err := decoderOf(charset)
	if err != nil {
		return "", err
	}
	return decode(text)
}

// Detach copies the values of an image that are parts of an event.
func Detach(image []any) { detach(image) }

// SessionOf returns what status variables of a statement tell.
func SessionOf(status []byte) (noBackslashEscapes bool, collation uint64) {
	s := sessionOf(status)
	return s.mode.NoBackslashEscapes, s.collation
}

// IsReplica reports whether a server replicates another one.
func IsReplica(ctx context.Context, addr string, cfg Config) (bool, error) {
	s, err := newServer(addr, cfg.withDefaults(addr))
	if err != nil {
		return false, err
	}
	defer s.close() //nolint:errcheck // it was only asked
	f, err := s.facts(ctx)
	if err != nil {
		return false, err
	}
	return s.isReplica(ctx, f)
}

// State returns what a reader makes of the state of a table.
func State(text string) string { return parseKeys(text).state() }

// Rows reads descriptions of tables and their rows, without a server.
type Rows struct {
	r      *reader
	parser *replication.BinlogParser
}

// NewRows returns a reader of a log that begins with the event format.
func NewRows(format []byte, collations map[uint64][2]string) (*Rows, error) {
	r := &reader{
		log: &log{addr: "fuzz:3306"}, facts: facts{"version": "10.11.1-MariaDB"}, collations: make(map[uint64]collation),
		tables: make(map[string]*known), byID: make(map[uint64]*known), fresh: make(map[*known]bool),
	}
	for id, c := range collations {
		r.collations[id] = collation{c[0], c[1]}
	}
	p := replication.NewBinlogParser()
	p.SetFlavor(r.facts.flavor())
	p.SetTimestampStringLocation(time.UTC)
	p.SetRenderJSONAsMySQLText(true)
	p.SetRowsEventDecodeFunc(decodeLater)
	p.SetTableMapOptionalMetaDecodeFunc(func([]byte) error { return nil })
	e, err := p.Parse(format)
	if err != nil {
		return nil, err
	}
	return &Rows{r, p}, r.handle(context.Background(), e)
}

// Read reads one event, and returns what a reader makes of it. It reports false if go-mysql's own goroutine would have refused
// the event.
func (x *Rows) Read(raw []byte) (events []demux.Event, parsed bool) {
	e := x.parse(raw)
	if e == nil {
		return nil, false
	}
	err := x.r.handle(context.Background(), e)
	for _, k := range x.r.byID {
		if k != nil && k.keys != nil && k.keys.New == nil { // known, so that no server is asked
			k.keys = &keys{New: &definition{}}
		}
	}
	if err != nil {
		return nil, false
	}
	events = slices.Clone(x.r.queue)
	x.r.queue = x.r.queue[:0]
	return events, true
}

// Numbered returns how many tables the reader knows by the log's numbers.
func (x *Rows) Numbered() int { return len(x.r.byID) }

func (x *Rows) parse(raw []byte) (e *replication.BinlogEvent) {
	defer func() {
		if recover() != nil { // as go-mysql does
			e = nil
		}
	}()
	e, err := x.parser.Parse(raw)
	if err != nil {
		return nil
	}
	return e
}
