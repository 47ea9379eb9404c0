package mysql

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

// log is the binary log of a server. It implements demux.Log.
type log struct {
	addr   string
	cfg    Config
	filter binlog.Filter
	server *server

	compared atomic.Bool // the patterns of the filter, with the tables

	mu  sync.Mutex
	ids map[uint32]bool // server ids in use by readers
}

func newLog(addr string, filter binlog.Filter, cfg Config) (*log, error) {
	s, err := newServer(addr, cfg)
	if err != nil {
		return nil, err
	}
	return &log{addr: addr, cfg: cfg, filter: filter, server: s, ids: make(map[uint32]bool)}, nil
}

// Identity implements demux.Log. Servers that replicate each other have different ones, although their GTIDs compare: they may
// write transactions in another order.
func (l *log) Identity(ctx context.Context) (string, error) {
	f, err := l.ready(ctx)
	if err != nil {
		return "", err
	}
	kind := "gtid"
	if l.cfg.FilePosition {
		kind = "file"
	}
	return fmt.Sprintf("%s %s %s %s", f.flavor(), f.id(), kind, l.Filter()), nil
}

// Filter implements demux.Log.
func (l *log) Filter() string { return fmt.Sprintf("%.8x", sha256.Sum256([]byte(l.filter.String()))) }

// ready returns the facts of a server whose log can be read.
func (l *log) ready(ctx context.Context) (facts, error) {
	f, err := l.server.facts(ctx)
	if err != nil {
		return nil, err
	}
	return f, l.server.check(ctx, f)
}

// Start implements demux.Log.
func (l *log) Start(ctx context.Context) (demux.Place, error) {
	f, err := l.ready(ctx)
	if err != nil {
		return "", err
	}
	var p place
	switch l.cfg.Start.kind {
	case startEnd:
		p, err = l.server.end(ctx, f)
	case startOldest:
		p, err = l.server.oldest(ctx, f)
	case startGTIDs, startFile:
		p, err = l.cfg.Start.given(f)
	}
	if err != nil {
		return "", err
	}
	return p.text(), nil
}

// Tables implements demux.Log.
func (l *log) Tables(ctx context.Context) ([]string, error) {
	rows, err := l.server.tables(ctx)
	if err != nil {
		return nil, err
	}
	if first := !l.compared.Swap(true); first {
		l.compare(ctx, rows)
	}
	var wanted []string
	for _, r := range rows {
		if l.filter.Wants(r[0], r[1]) {
			wanted = append(wanted, names.Join(r[0], r[1]))
		}
	}
	return wanted, nil
}

// compare logs the patterns that match none of the tables.
func (l *log) compare(ctx context.Context, tables [][]string) {
	for _, p := range l.filter.Tables {
		exact, folded := binlog.Filter{Tables: []string{p}}, binlog.Filter{Tables: []string{strings.ToLower(p)}}
		if slices.ContainsFunc(tables, func(t []string) bool { return exact.Wants(t[0], t[1]) }) {
			continue
		}
		level, cause := slog.LevelWarn, "the server has no such table yet, or the user has no SELECT on it"
		switch {
		case slices.ContainsFunc(tables, func(t []string) bool { return folded.Wants(strings.ToLower(t[0]), strings.ToLower(t[1])) }):
			cause = "the server spells the name in another case"
		case strings.ContainsAny(p, "*?["):
			level = slog.LevelInfo
		}
		l.cfg.Logger.LogAttrs(ctx, level, "no table matches a wanted name", slog.String("name", p), slog.String("cause", cause))
	}
}

// Wanted implements demux.Log.
func (l *log) Wanted(table string) bool {
	database, name, ok := names.Cut(table)
	return ok && l.filter.Wants(database, name)
}

// Open implements demux.Log.
func (l *log) Open(ctx context.Context, after demux.Place, tables map[string]demux.Known) (demux.Reader, error) {
	p, err := parsePlace(after)
	if err != nil {
		return nil, err
	}
	f, err := l.ready(ctx)
	if err != nil {
		return nil, err
	}
	collations, err := l.server.collations(ctx)
	if err != nil {
		return nil, err
	}
	r := newReader(l, f, collations, p, tables)
	if err = r.expect(ctx, tables); err == nil {
		err = r.start(ctx)
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return r, nil
}

// Reached implements demux.Log.
func (l *log) Reached(at, want demux.Place) (bool, error) {
	if at == want {
		return true, nil
	}
	a, err := parsePlace(at)
	if err != nil {
		return false, err
	}
	w, err := parsePlace(want)
	if err != nil {
		return false, err
	}
	return a.reached(w)
}

// Lowest implements demux.Log.
func (l *log) Lowest(places ...demux.Place) (demux.Place, error) {
	low, err := parsePlace(places[0])
	for _, text := range places[1:] {
		if err != nil {
			return "", err
		}
		var p place
		if p, err = parsePlace(text); err == nil {
			low, err = low.lowest(p)
		}
	}
	if err != nil {
		return "", err
	}
	return low.text(), nil
}

// Temporary implements demux.Log.
func (l *log) Temporary(err error) bool { return temporary(err) }

// Close closes the connection for questions.
func (l *log) Close() error { return l.server.close() }

// takeID returns a server id that no other reader of the log has.
func (l *log) takeID() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.cfg.ServerID
	for l.ids[id] {
		id++
	}
	l.ids[id] = true
	return id
}

func (l *log) giveID(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ids, id)
}
