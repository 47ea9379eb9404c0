package drc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

// logReader makes events of the records of a stream. It implements [demux.Reader].
type logReader struct {
	*lines
	turn *turn
	log  *log
	name string // of the log, for checkpoints

	tables      map[string]*definition
	transaction int64  // of the last row
	place       string // its end
	index       int    // of the next row
	read        int64  // bytes up to the last event
	event       demux.Event
}

// definition is a table as it was when its last row changed.
type definition struct {
	columns, keys []byte
	table         *binlog.Table
}

// Next implements [demux.Reader].
func (r *logReader) Next(ctx context.Context) (*demux.Event, error) {
	stop := context.AfterFunc(ctx, func() { r.cancel(context.Cause(ctx)) })
	defer stop()
	l, err := r.next()
	if err != nil {
		return nil, err
	}
	r.event = demux.Event{Time: l.Time, Bytes: int(r.decoder.InputOffset() - r.read)}
	r.read = r.decoder.InputOffset()
	if l.Type == Row || l.Type == DDL {
		r.enter(l.Transaction)
		r.event.Place = demux.Place(r.place)
	}
	switch l.Type {
	case Row:
		return &r.event, r.row(&l)
	case DDL:
		r.event.Kind = demux.Statement
		r.event.DDL = &binlog.DDL{Database: l.Database, Query: l.Query, Tables: l.Tables, Transaction: r.place}
	case Commit:
		r.event.Kind, r.event.Place = demux.End, demux.Place(l.Checkpoint)
	case Heartbeat:
		if l.State != Active {
			r.turn.end(errTurn)
			return nil, errTurn
		}
		r.event.Kind = demux.Idle // its checkpoint depends on the moment, so it is not counted
	case Failure: // without an error
		return nil, r.malformed("an error without its reason")
	default:
		return nil, r.malformed(fmt.Sprintf("a record of type %q", l.Type))
	}
	return &r.event, nil
}

// Close implements [demux.Reader].
func (r *logReader) Close() error {
	r.close()
	return nil
}

// enter notes the transaction of a row.
func (r *logReader) enter(transaction int64) {
	if transaction != r.transaction {
		r.transaction, r.place, r.index = transaction, string(joinPlace(r.name, transaction)), 0
	}
}

// row makes an event of a row. A row that cannot be read stops its table.
func (r *logReader) row(l *received) error {
	if _, _, ok := names.Cut(l.Table); !ok {
		return r.malformed(fmt.Sprintf("a row of table %q, which is not database.table", l.Table))
	}
	row, err := r.change(l)
	if err != nil {
		r.event.Kind, r.event.Table = demux.Fault, l.Table
		r.event.Err = fmt.Errorf("%s: row %d of transaction %s of table %s: %w",
			r.log.service.Redacted(), l.Index, r.place, l.Table, err)
		return nil
	}
	row.Index = r.index
	r.index++
	r.event.Kind, r.event.Rows = demux.Rows, []binlog.Row{row}
	return nil
}

func (r *logReader) change(l *received) (row binlog.Row, err error) {
	d := r.tables[l.Table]
	if d == nil || !bytes.Equal(d.columns, l.Columns) || !bytes.Equal(d.keys, l.Keys) {
		if d, err = define(l); err != nil {
			return row, err
		}
		r.tables[l.Table] = d
	}
	row = binlog.Row{Table: d.table, Transaction: r.place}
	switch l.Kind {
	case Insert:
		row.Kind = binlog.Insert
	case Update:
		row.Kind = binlog.Update
	case Delete:
		row.Kind = binlog.Delete
	default:
		return row, fmt.Errorf("%w: kind %q", errMalformed, l.Kind)
	}
	if l.Kind != Insert {
		if row.Before, err = valuesOf(d.table, l.Before); err != nil {
			return row, fmt.Errorf("before the change: %w", err)
		}
	}
	if l.Kind != Delete {
		if row.After, err = valuesOf(d.table, l.After); err != nil {
			return row, fmt.Errorf("after the change: %w", err)
		}
	}
	return row, nil
}

// define makes the table of a row.
func define(l *received) (*definition, error) {
	var (
		columns []Column
		keys    []Key
	)
	for text, into := range map[*json.RawMessage]any{&l.Columns: &columns, &l.Keys: &keys} {
		if len(*text) == 0 {
			continue
		}
		if err := json.Unmarshal(*text, into); err != nil {
			return nil, fmt.Errorf("%w: %w", errMalformed, err)
		}
	}
	database, name, _ := names.Cut(l.Table)
	t := &binlog.Table{Database: database, Name: name}
	for _, c := range columns {
		t.Columns = append(t.Columns, binlog.Column{
			Name: c.Name, Type: c.Type, Unsigned: c.Unsigned, Collation: c.Collation, Generated: c.Generated,
		})
	}
	for _, k := range keys {
		key := binlog.UniqueKey{Name: k.Name}
		for _, name := range k.Columns {
			i := slices.IndexFunc(columns, func(c Column) bool { return c.Name == name })
			if i < 0 {
				t.Whole = true // a part is no column
			}
			key.Columns = append(key.Columns, i)
		}
		t.Keys = append(t.Keys, key)
	}
	if t.Whole {
		t.Keys = nil
	}
	return &definition{columns: l.Columns, keys: l.Keys, table: t}, nil
}

func (r *logReader) malformed(what string) error {
	return fmt.Errorf("topic %s: %w: behind byte %d of the stream: %s", r.log.topic, errMalformed, r.read, what)
}
