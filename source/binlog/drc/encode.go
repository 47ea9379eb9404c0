package drc

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

// encode encodes the records of a transaction and its commit.
func (t *topic) encode(number position, records []Record) (transaction, error) {
	if len(records) == 0 {
		return transaction{}, fmt.Errorf("drc: append to topic %s: the transaction has no records", t.name)
	}
	tx := transaction{lines: make([]line, len(records))}
	var at time.Time
	for i, r := range records {
		r.Transaction, r.Index = int64(number), i+1
		if r.Time.IsZero() {
			r.Time = time.Now().UTC()
		}
		at = r.Time
		text, err := r.encode()
		if err = cmp.Or(r.check(), err); err != nil {
			return transaction{}, fmt.Errorf("drc: append to topic %s: record %d of the transaction: %w", t.name, i+1, err)
		}
		tx.lines[i] = line{tables: slices.Clone(r.Tables), text: text}
		switch {
		case r.Type == Row:
			tx.lines[i].tables = []string{r.Table}
		case slices.ContainsFunc(r.Tables, func(name string) bool { return strings.HasSuffix(name, ".*") }):
			tx.lines[i].tables = nil
		}
	}
	var err error
	tx.commit, err = Record{
		Type: Commit, Time: at, Transaction: int64(number), Records: len(records), Checkpoint: t.checkpoint(number),
	}.encode()
	return tx, err
}

// encode returns the record as a line of JSON.
func (r Record) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return b.Bytes(), err
}

// check returns an error if a subscriber could not make a row or a statement of the record.
func (r Record) check() error {
	images := map[Kind][2]bool{Insert: {false, true}, Update: {true, true}, Delete: {true, false}}
	want, known := images[r.Kind]
	switch _, _, ok := names.Cut(r.Table); {
	case r.Type == DDL && r.Query != "":
		return nil
	case r.Type != Row:
		return fmt.Errorf("type %q: want row, or ddl with a query", r.Type)
	case !known || !ok:
		return fmt.Errorf("table %q, kind %q: want database.table, and insert, update or delete", r.Table, r.Kind)
	}
	return errors.Join(r.checkImage("before", r.Before, want[0]), r.checkImage("after", r.After, want[1]))
}

func (r Record) checkImage(name string, image []any, want bool) error {
	if want && len(image) != len(r.Columns) || !want && image != nil {
		return fmt.Errorf("table %s: %s: the %s image has %d values, the table has %d columns",
			r.Table, r.Kind, name, len(image), len(r.Columns))
	}
	for i, v := range image {
		c := r.Columns[i]
		_, bytes := v.([]byte)
		if text, ok := v.(string); bytes && !c.binary() || ok && !utf8.ValidString(text) {
			return fmt.Errorf("table %s: column %s: bytes in a column of type %s", r.Table, c.Name, c.Type)
		}
	}
	return nil
}

// binary reports whether the values of the column are bytes, which JSON has as base64.
func (c Column) binary() bool {
	return strings.HasSuffix(c.Type, "blob") || c.Type == "binary" || c.Type == "varbinary" || c.Type == "geometry"
}
