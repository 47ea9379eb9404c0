package mysql

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

// copyAbove is the size of events whose values are copied. go-mysql's strings and blobs are parts of the event: a row that waits
// long would keep all of it in memory.
const copyAbove = 64 << 10

var errPartial = errors.New("the log has only a part of the row's columns, because a session has set binlog_row_image or " +
	"binlog_row_value_options: forbid that")

// describe handles the description of a table that comes before its rows.
func (r *reader) describe(e *replication.BinlogEvent, m *replication.TableMapEvent) {
	r.scratch = names.Append(r.scratch[:0], m.Schema, m.Table)
	k := r.tables[string(r.scratch)]
	if k == nil {
		k = r.known(string(m.Schema), string(m.Table))
	}
	if !k.wanted {
		r.byID[m.TableID] = nil
		return
	}
	raw := e.RawData[replication.EventHeaderSize+6:] // the number of the table changes
	sum := r.checksums && !r.payload
	if sum {
		raw = raw[:len(raw)-4]
	}
	if k.table == nil || !bytes.Equal(k.table.raw, raw) {
		k.table = r.parseTable(e.RawData, sum)
		k.table.raw = bytes.Clone(raw)
	}
	r.byID[m.TableID] = k
}

// parseTable reads a description. If that fails, the table has a fault. go-mysql panics at some malformed descriptions.
func (r *reader) parseTable(raw []byte, sum bool) (t *table) {
	failed := func(err error) *table {
		return &table{fault: fmt.Errorf("its description in the log is malformed: %w", shorten(err))}
	}
	defer func() {
		if p := recover(); p != nil {
			t = failed(fmt.Errorf("%v", p))
		}
	}()
	e, err := r.parseDescription(raw, sum)
	if err != nil {
		return failed(err)
	}
	return newTable(e, r.collations)
}

// parseDescription decodes a description with its optional parts.
func (r *reader) parseDescription(raw []byte, sum bool) (*replication.TableMapEvent, error) {
	if r.describer == nil {
		return nil, errors.New("the log does not begin with its format")
	}
	raw = bytes.Clone(raw)
	if r.checksums && !sum { // an event in a compressed transaction has none, but the parser expects it
		raw = append(raw, 0, 0, 0, 0)
		binary.LittleEndian.PutUint32(raw[9:], uint32(len(raw)))
	}
	e, err := r.describer.Parse(raw)
	if err != nil {
		return nil, err
	}
	m, ok := e.Event.(*replication.TableMapEvent)
	if !ok {
		return nil, fmt.Errorf("its description is a %v", e.Header.EventType)
	}
	return m, nil
}

// rows handles rows of one table. How many numbers an event takes depends on the event alone, not on what the reader has met
// before: readers that began at other places must count the same.
func (r *reader) rows(ctx context.Context, e *replication.BinlogEvent, ev *replication.RowsEvent) error {
	if k := r.byID[ev.TableID]; k != nil {
		if err := r.wanted(ctx, k, e, ev); err != nil {
			return err
		}
	}
	if ev.Flags&replication.RowsEventStmtEndFlag != 0 {
		clear(r.byID) // the next statement describes its tables again
	}
	return nil
}

// wanted handles rows of a wanted table.
func (r *reader) wanted(ctx context.Context, k *known, e *replication.BinlogEvent, ev *replication.RowsEvent) error {
	if r.xid != "" {
		r.faultAll(fmt.Errorf("table %s: a row of XA transaction %s, which is prepared: whether it counts is told later in the log. Finish it, "+
			"and %s", k.full, r.xid, anew))
		return nil
	}
	fault := k.table.fault
	if fault == nil && isPartial(e, ev) {
		fault = errPartial
	}
	if fault == nil && k.keys.New == nil {
		if err := r.readKeys(ctx, k); err != nil {
			return err
		}
	}
	count, err := decode(e.Header.EventType, ev)
	var rows []binlog.Row
	if fault = cmp.Or(fault, err); fault == nil {
		rows, fault = r.make(k, ev)
	}
	if fault != nil {
		r.transaction.rows += count
		r.fault(k, count, fault)
		return nil
	}
	if len(e.RawData) > copyAbove || compressed(e.Header.EventType) || r.payload {
		for i := range rows {
			detach(rows[i].Before)
			detach(rows[i].After)
		}
	}
	r.transaction.rows += count
	r.push(demux.Event{Kind: demux.Rows, Rows: rows, Time: r.time, Place: r.alone})
	return nil
}

// decodeLater decodes the begin of an event. Its rows are decoded when it is known that they are wanted. Until then NdbData, which
// is of another engine, has them.
func decodeLater(ev *replication.RowsEvent, data []byte) error {
	n, err := ev.DecodeHeader(data)
	if err == nil {
		ev.NdbData = slices.Clip(data[n:]) // go-mysql would read on in what follows a row that is cut
	}
	return err
}

// decode decodes the images of an event, and returns how many rows they are. An event that cannot be decoded counts as one row.
func decode(t replication.EventType, ev *replication.RowsEvent) (count int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err != nil {
			count, err = 1, fmt.Errorf("a row cannot be decoded: %w", shorten(err))
		}
	}()
	body := ev.NdbData
	ev.NdbData = nil
	switch {
	case ev.ColumnCount != ev.Table.ColumnCount:
		return 0, fmt.Errorf("it has %d columns, and its table %d", ev.ColumnCount, ev.Table.ColumnCount)
	case columns(ev.ColumnBitmap1, ev.ColumnCount)+columns(ev.ColumnBitmap2, ev.ColumnCount) == 0:
		return 0, errors.New("it has no columns") // go-mysql would read it for ever
	case compressed(t) && !inflates(body):
		return 0, errors.New("it is compressed, and its size is wrong")
	}
	if err := ev.DecodeData(0, body); err != nil {
		return 0, err
	}
	return len(ev.Rows) / step(ev), nil
}

// inflates reports whether compressed rows can have the size that they tell. go-mysql allocates it.
func inflates(body []byte) bool {
	const most = 1100 // times their size: zlib reaches 1032
	if len(body) == 0 || len(body) <= int(body[0]&7) {
		return false
	}
	return gomysql.BFixedLengthInt(body[1:1+int(body[0]&7)]) <= most*uint64(len(body))
}

// step returns how many images an event has for each row.
func step(ev *replication.RowsEvent) int {
	if ev.ColumnBitmap2 != nil || ev.Type() == replication.EnumRowsEventTypeUpdate {
		return 2
	}
	return 1
}

// isPartial reports whether an event has only a part of its rows' columns.
func isPartial(e *replication.BinlogEvent, ev *replication.RowsEvent) bool {
	return e.Header.EventType == replication.PARTIAL_UPDATE_ROWS_EVENT || columns(ev.ColumnBitmap1, ev.ColumnCount) < ev.ColumnCount ||
		ev.ColumnBitmap2 != nil && columns(ev.ColumnBitmap2, ev.ColumnCount) < ev.ColumnCount
}

// make makes the rows of an event.
func (r *reader) make(k *known, ev *replication.RowsEvent) ([]binlog.Row, error) {
	shared := k.table.with(k.database, k.name, k.keys)
	values := k.table.values
	for _, row := range ev.Rows {
		if len(row) != len(values) {
			return nil, fmt.Errorf("a row has %d values for %d columns", len(row), len(values))
		}
		for _, i := range k.table.changed {
			if row[i] == nil {
				continue
			}
			v, err := values[i].of(row[i])
			if err != nil {
				return nil, err
			}
			row[i] = v
		}
	}
	kind := binlog.Insert
	switch ev.Type() {
	case replication.EnumRowsEventTypeUpdate:
		kind = binlog.Update
	case replication.EnumRowsEventTypeDelete:
		kind = binlog.Delete
	case replication.EnumRowsEventTypeInsert, replication.EnumRowsEventTypeUnknown:
	}
	rows := make([]binlog.Row, len(ev.Rows)/step(ev))
	for i := range rows {
		row := &rows[i]
		row.Table, row.Kind, row.Transaction, row.Index = shared, kind, r.name, r.transaction.rows+i
		switch kind {
		case binlog.Insert:
			row.After = ev.Rows[i]
		case binlog.Delete:
			row.Before = ev.Rows[i]
		case binlog.Update:
			row.Before, row.After = ev.Rows[2*i], ev.Rows[2*i+1]
		}
	}
	return rows, nil
}

// readKeys asks the server for the keys of a table.
func (r *reader) readKeys(ctx context.Context, k *known) error {
	d, err := r.log.server.definition(ctx, r.facts, k.database, k.name)
	if err != nil {
		return err
	}
	behind, err := r.log.server.end(ctx, r.facts)
	if err != nil {
		return err
	}
	if d.Unknown {
		r.log.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "unique keys of a table are not known; its rows are handled one after another",
			slog.String("table", k.full), slog.String("cause", "the table is gone, the user has no SELECT on it, or a key is of periods"))
	}
	r.fresh[k] = true
	r.define(k, k.keys.read(d, behind))
	return nil
}

// columns returns how many of the first columns a bitmap has.
func columns(bitmap []byte, of uint64) (n uint64) {
	for i := range min(of, 8*uint64(len(bitmap))) {
		n += uint64(bitmap[i/8]>>(i%8)) & 1
	}
	return n
}

// compressed reports whether the rows of an event were compressed: they are larger than the event.
func compressed(t replication.EventType) bool {
	return replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1 <= t && t <= replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1
}

// detach copies the values of an image that are parts of an event.
func detach(image []any) {
	size := 0
	for _, v := range image {
		if s, ok := v.(string); ok {
			size += len(s)
		}
	}
	var all strings.Builder
	all.Grow(size)
	for _, v := range image {
		if s, ok := v.(string); ok {
			all.WriteString(s)
		}
	}
	text := all.String()
	for i, v := range image {
		switch v := v.(type) {
		case string:
			image[i], text = text[:len(v)], text[len(v):]
		case []byte:
			image[i] = slices.Clone(v)
		}
	}
}
