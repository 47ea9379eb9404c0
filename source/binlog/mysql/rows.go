package mysql

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

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
func (r *reader) describe(e *replication.BinlogEvent, m *replication.TableMapEvent) error {
	r.scratch = names.Append(r.scratch[:0], m.Schema, m.Table)
	k := r.tables[string(r.scratch)]
	if k == nil {
		k = r.known(string(m.Schema), string(m.Table))
	}
	if !k.wanted {
		r.byID[m.TableID] = nil
		return nil
	}
	raw := e.RawData[replication.EventHeaderSize+6:] // the number of the table changes
	sum := r.checksums && !r.payload
	if sum {
		raw = raw[:len(raw)-4]
	}
	if k.table == nil || !bytes.Equal(k.table.raw, raw) {
		full, err := r.parseDescription(e.RawData, sum)
		if err != nil {
			return r.at(fmt.Errorf("table %s: %w", k.full, shorten(err)))
		}
		k.table = newTable(k.full, bytes.Clone(raw), full, r.collations)
	}
	r.byID[m.TableID] = k
	return nil
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

// rows handles rows of one table.
func (r *reader) rows(ctx context.Context, e *replication.BinlogEvent, ev *replication.RowsEvent) error {
	body := ev.NdbData
	ev.NdbData = nil
	k := r.byID[ev.TableID]
	if k == nil || k.faulty {
		return nil
	}
	if r.xid != "" {
		r.faultAll(fmt.Errorf("table %s: a row of XA transaction %s, which is prepared: whether it counts is told later in the log. Finish it, "+
			"and %s", k.full, r.xid, anew))
		return nil
	}
	if err := k.table.fault; err != nil {
		r.fault(k, err)
		return nil
	}
	if e.Header.EventType == replication.PARTIAL_UPDATE_ROWS_EVENT || !full(ev.ColumnBitmap1, ev.ColumnCount) ||
		ev.ColumnBitmap2 != nil && !full(ev.ColumnBitmap2, ev.ColumnCount) {
		r.fault(k, errPartial)
		return nil
	}
	if k.keys.New == nil {
		if err := r.readKeys(ctx, k); err != nil {
			ev.NdbData = body
			return err
		}
	}
	if err := ev.DecodeData(0, body); err != nil {
		r.fault(k, fmt.Errorf("a row cannot be decoded: %w", shorten(err)))
		return nil
	}
	rows, err := r.make(k, ev)
	if err != nil {
		r.fault(k, err)
		return nil
	}
	if len(e.RawData) > copyAbove || compressed(e.Header.EventType) || r.payload {
		for i := range rows {
			detach(rows[i].Before)
			detach(rows[i].After)
		}
	}
	r.transaction.rows += len(rows)
	r.push(demux.Event{Kind: demux.Rows, Rows: rows, Time: r.time, Place: r.alone})
	return nil
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
	kind, step := binlog.Insert, 1
	switch ev.Type() {
	case replication.EnumRowsEventTypeUpdate:
		kind, step = binlog.Update, 2
	case replication.EnumRowsEventTypeDelete:
		kind = binlog.Delete
	case replication.EnumRowsEventTypeInsert, replication.EnumRowsEventTypeUnknown:
	}
	rows := make([]binlog.Row, len(ev.Rows)/step)
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

// full reports whether a bitmap has all columns.
func full(bitmap []byte, columns uint64) bool {
	for i := range columns {
		if bitmap[i/8]&(1<<(i%8)) == 0 {
			return false
		}
	}
	return true
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
