package binlog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// form has the parts of the JSON form that the rows of a table share.
type form struct {
	head  []byte   // of the database and the table
	names [][]byte // of the columns, with a colon
	tail  []byte   // of the definition
	err   error    // why the table has no form
}

func formOf(t *Table) form {
	var f form
	f.head = appendText(append(f.head, `,"database":`...), t.Database)
	f.head = appendText(append(f.head, `,"table":`...), t.Name)
	seen := make(map[string]bool, len(t.Columns))
	f.tail = append(f.tail, `,"columns":[`...)
	for i := range t.Columns {
		c := &t.Columns[i]
		switch {
		case !utf8.ValidString(c.Name):
			f.err = fmt.Errorf("the name of column %d is not UTF-8: %q", i, c.Name)
		case seen[c.Name]:
			f.err = fmt.Errorf("two columns have the name %q", c.Name)
		}
		seen[c.Name] = true
		f.names = append(f.names, append(appendText(nil, c.Name), ':'))
		f.tail = appendColumn(appendComma(f.tail, i), c)
	}
	f.tail = append(f.tail, `],"keys":[`...)
	for i := range t.Keys {
		f.tail = appendComma(f.tail, i)
		var err error
		if f.tail, err = appendUniqueKey(f.tail, t, &t.Keys[i]); err != nil {
			f.err = err
		}
	}
	f.tail = append(f.tail, ']')
	if t.Whole {
		f.tail = append(f.tail, `,"whole":true`...)
	}
	return f
}

func appendColumn(dst []byte, c *Column) []byte {
	dst = appendText(append(dst, `{"name":`...), c.Name)
	dst = appendText(append(dst, `,"type":`...), c.Type)
	if c.Unsigned {
		dst = append(dst, `,"unsigned":true`...)
	}
	if c.Collation != "" {
		dst = appendText(append(dst, `,"collation":`...), c.Collation)
	}
	if c.Generated {
		dst = append(dst, `,"generated":true`...)
	}
	return append(dst, '}')
}

func appendUniqueKey(dst []byte, t *Table, k *UniqueKey) ([]byte, error) {
	dst = appendText(append(dst, `{"name":`...), k.Name)
	dst = append(dst, `,"columns":[`...)
	for i, c := range k.Columns {
		if c < 0 || c >= len(t.Columns) {
			return dst, fmt.Errorf("key %q has column %d of %d", k.Name, c, len(t.Columns))
		}
		dst = appendText(appendComma(dst, i), t.Columns[c].Name)
	}
	dst = append(dst, ']')
	if k.Prefixes != nil {
		dst = append(dst, `,"prefixes":[`...)
		for i, n := range k.Prefixes {
			dst = strconv.AppendInt(appendComma(dst, i), int64(n), 10)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

// appendRow appends the JSON form of a row.
func appendRow(dst []byte, r *Row) ([]byte, error) {
	err := r.check()
	f := &r.Table.prepare().form
	if err = errors.Join(err, f.err); err != nil {
		return dst, encodeError(r, err)
	}
	start := len(dst)
	dst = append(append(append(dst, `{"kind":"`...), r.Kind.String()...), '"')
	dst = append(dst, f.head...)
	for _, image := range []struct {
		name   string
		values []any
	}{{`,"before":{`, r.Before}, {`,"after":{`, r.After}} {
		if image.values == nil {
			continue
		}
		dst = append(dst, image.name...)
		for i, v := range image.values {
			dst = append(appendComma(dst, i), f.names[i]...)
			var ok bool
			if dst, ok = appendValue(dst, v, &r.Table.Columns[i]); !ok {
				return dst[:start], encodeError(r, fmt.Errorf("column %q has a %T: use nil, int64, uint64, float64, string or []byte",
					r.Table.Columns[i].Name, v))
			}
		}
		dst = append(dst, '}')
	}
	dst = appendText(append(dst, `,"transaction":`...), r.Transaction)
	dst = strconv.AppendInt(append(dst, `,"index":`...), int64(r.Index), 10)
	dst = append(dst, f.tail...)
	return append(dst, '}'), nil
}

func encodeError(r *Row, err error) error {
	return fmt.Errorf("binlog: encode row %d of transaction %q in %v: %w", r.Index, r.Transaction, r.Table, err)
}

// appendDDL appends the JSON form of a statement.
func appendDDL(dst []byte, d *DDL) []byte {
	dst = appendText(append(dst, `{"kind":"ddl","database":`...), d.Database)
	dst = appendText(append(dst, `,"query":`...), d.Query)
	dst = append(dst, `,"tables":`...)
	if d.Tables == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, '[')
		for i, t := range d.Tables {
			dst = appendText(appendComma(dst, i), t)
		}
		dst = append(dst, ']')
	}
	dst = strconv.AppendBool(append(dst, `,"apply":`...), d.Apply)
	dst = appendText(append(dst, `,"transaction":`...), d.Transaction)
	return append(dst, '}')
}

// appendValue appends a value of a column. It returns false for a type that a row must not have.
func appendValue(dst []byte, v any, c *Column) ([]byte, bool) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), true
	case int64:
		if c.counts() {
			return append(strconv.AppendInt(append(dst, `{"int":`...), v, 10), '}'), true
		}
		return strconv.AppendInt(dst, v, 10), true
	case uint64:
		if !c.counts() {
			return append(strconv.AppendUint(append(dst, `{"uint":`...), v, 10), '}'), true
		}
		return strconv.AppendUint(dst, v, 10), true
	case float64:
		return appendFloatValue(dst, v), true
	case string:
		return appendText(dst, v), true
	case []byte:
		return appendBase64(append(dst, `{"base64":"`...), v), true
	}
	return dst, false
}

// counts reports whether the integers of the column are unsigned.
func (c *Column) counts() bool { return c.Unsigned || c.Type == "bit" }

// appendFloatValue appends a number that always has a point or an exponent, to tell it from an integer.
func appendFloatValue(dst []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(strconv.AppendFloat(append(dst, `{"float":"`...), v, 'g', -1, 64), `"}`...)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, v, 'g', -1, 64)
	for _, b := range dst[start:] {
		if b == '.' || b == 'e' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// appendText appends a JSON string, or the object that stands for a string that is not UTF-8.
func appendText(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		return appendBase64(append(dst, `{"text":"`...), []byte(s))
	}
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0
	for i := range len(s) {
		b := s[i]
		if b >= ' ' && b != '"' && b != '\\' {
			continue
		}
		dst = append(dst, s[done:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		}
		done = i + 1
	}
	return append(append(dst, s[done:]...), '"')
}

// appendBase64 appends the rest of an object that has bytes.
func appendBase64(dst, b []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(dst, b), `"}`...)
}

func appendComma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}
