package binlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// document is the JSON form of a row or a statement. Pointers tell a missing member from an empty one. Members that are not
// known are ignored.
type document struct {
	Kind        string `json:"kind"`
	Database    *text  `json:"database"`
	Transaction *text  `json:"transaction"`

	// Of a row.
	Table   *text                      `json:"table"`
	Before  map[string]json.RawMessage `json:"before"`
	After   map[string]json.RawMessage `json:"after"`
	Index   *int                       `json:"index"`
	Columns []column                   `json:"columns"`
	Keys    []uniqueKey                `json:"keys"`
	Whole   bool                       `json:"whole"`

	// Of a statement.
	Query  *text  `json:"query"`
	Tables []text `json:"tables"`
	Apply  bool   `json:"apply"`
}

type column struct {
	Name      text `json:"name"`
	Type      text `json:"type"`
	Unsigned  bool `json:"unsigned"`
	Collation text `json:"collation"`
	Generated bool `json:"generated"`
}

type uniqueKey struct {
	Name     text   `json:"name"`
	Columns  []text `json:"columns"`
	Prefixes []int  `json:"prefixes"`
}

// decode reads the JSON form of a row or a statement.
func decode(data []byte) (change, error) {
	if !utf8.Valid(data) {
		return change{}, errors.New("the value is not the JSON form of a row: it is not UTF-8")
	}
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return change{}, fmt.Errorf("the value is not the JSON form of a row: %w", err)
	}
	if err := d.check(); err != nil {
		return change{}, err
	}
	if d.Kind == kindDDL {
		return change{ddl: d.statement()}, nil
	}
	r, err := d.row()
	if err != nil {
		return change{}, err
	}
	return change{row: r}, nil
}

const kindDDL = "ddl"

// check names all members that are missing or too many.
func (d *document) check() error {
	type member struct {
		name        string
		there, want bool
	}
	members := []member{{"database", d.Database != nil, true}, {"transaction", d.Transaction != nil, true}}
	switch d.Kind {
	case kindDDL:
		members = append(members, member{"query", d.Query != nil, true})
	case Insert.String(), Update.String(), Delete.String():
		members = append(members, member{"table", d.Table != nil, true}, member{"index", d.Index != nil, true},
			member{"columns", d.Columns != nil, true}, member{"keys", d.Keys != nil, true},
			member{"before", d.Before != nil, d.Kind != Insert.String()}, member{"after", d.After != nil, d.Kind != Delete.String()})
	default:
		return fmt.Errorf(`the member "kind" is %q: it must be insert, update, delete or ddl`, d.Kind)
	}
	var errs []error
	for _, m := range members {
		switch {
		case m.want && !m.there:
			errs = append(errs, fmt.Errorf("the %s lacks the member %q", d.Kind, m.name))
		case m.there && !m.want:
			errs = append(errs, fmt.Errorf("the %s has a member %q", d.Kind, m.name))
		}
	}
	return errors.Join(errs...)
}

func (d *document) statement() *DDL {
	s := &DDL{Database: string(*d.Database), Query: string(*d.Query), Apply: d.Apply, Transaction: string(*d.Transaction)}
	if d.Tables != nil {
		s.Tables = texts(d.Tables)
	}
	return s
}

func (d *document) row() (*Row, error) {
	t, err := d.definition()
	if err != nil {
		return nil, err
	}
	r := &Row{Table: t, Transaction: string(*d.Transaction), Index: *d.Index}
	for _, k := range [...]Kind{Insert, Update, Delete} {
		if k.String() == d.Kind {
			r.Kind = k
		}
	}
	if r.Before, err = t.image("before", d.Before); err != nil {
		return nil, err
	}
	if r.After, err = t.image("after", d.After); err != nil {
		return nil, err
	}
	return r, nil
}

func (d *document) definition() (*Table, error) {
	t := &Table{Database: string(*d.Database), Name: string(*d.Table), Whole: d.Whole}
	index := make(map[string]int, len(d.Columns))
	for i, c := range d.Columns {
		if _, ok := index[string(c.Name)]; ok {
			return nil, fmt.Errorf("two columns have the name %q", c.Name)
		}
		index[string(c.Name)] = i
		t.Columns = append(t.Columns, Column{
			Name: string(c.Name), Type: string(c.Type), Unsigned: c.Unsigned,
			Collation: string(c.Collation), Generated: c.Generated,
		})
	}
	for _, k := range d.Keys {
		key := UniqueKey{Name: string(k.Name), Prefixes: k.Prefixes}
		if k.Prefixes != nil && len(k.Prefixes) != len(k.Columns) {
			return nil, fmt.Errorf("key %q has %d prefixes for %d columns", k.Name, len(k.Prefixes), len(k.Columns))
		}
		for _, name := range k.Columns {
			i, ok := index[string(name)]
			if !ok {
				return nil, fmt.Errorf("key %q has the column %q, which the table lacks", k.Name, name)
			}
			key.Columns = append(key.Columns, i)
		}
		t.Keys = append(t.Keys, key)
	}
	return t, nil
}

// image reads the values of a row before or after its change. A column that is missing is an error, not a NULL.
func (t *Table) image(name string, values map[string]json.RawMessage) ([]any, error) {
	if values == nil {
		return nil, nil
	}
	image := make([]any, len(t.Columns))
	for i := range t.Columns {
		c := &t.Columns[i]
		raw, ok := values[c.Name]
		if !ok {
			return nil, fmt.Errorf("%q lacks the column %q", name, c.Name)
		}
		v, err := valueOf(raw, c)
		if err != nil {
			return nil, fmt.Errorf("column %q of %q: %w", c.Name, name, err)
		}
		image[i] = v
	}
	if len(values) > len(image) {
		return nil, fmt.Errorf("%q has %d values for %d columns", name, len(values), len(image))
	}
	return image, nil
}

// valueOf reads a value of a column. raw is valid JSON.
func valueOf(raw []byte, c *Column) (any, error) {
	switch raw[0] {
	case 'n':
		return nil, nil
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case '{':
		return special(raw)
	case 't', 'f', '[':
		return nil, fmt.Errorf("%.50s is no value of a row", raw)
	}
	number := string(raw)
	if bytes.ContainsAny(raw, ".eE") {
		return strconv.ParseFloat(number, 64)
	}
	if c.counts() {
		return strconv.ParseUint(number, 10, 64)
	}
	return strconv.ParseInt(number, 10, 64)
}

// special reads an object that stands for a value that has no form of its own in JSON.
func special(raw []byte) (any, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	if len(members) == 1 {
		for name, v := range members {
			switch name {
			case "base64":
				b := []byte{}
				err := json.Unmarshal(v, &b)
				return b, err
			case "text":
				var b []byte
				err := json.Unmarshal(v, &b)
				return string(b), err
			case "int":
				return strconv.ParseInt(string(v), 10, 64)
			case "uint":
				return strconv.ParseUint(string(v), 10, 64)
			case "float":
				return float(v)
			}
		}
	}
	return nil, fmt.Errorf(`%.50s is no value of a row: an object has one member, "base64", "text", "int", "uint" or "float"`, raw)
}

func float(raw []byte) (any, error) {
	switch string(raw) {
	case `"NaN"`:
		return math.NaN(), nil
	case `"+Inf"`:
		return math.Inf(1), nil
	case `"-Inf"`:
		return math.Inf(-1), nil
	}
	return nil, fmt.Errorf(`%.50s is no float: it must be "NaN", "+Inf" or "-Inf"`, raw)
}

// text is a string that may be no UTF-8.
type text string

// UnmarshalJSON reads a JSON string, or the object that stands for a string that is not UTF-8.
func (t *text) UnmarshalJSON(raw []byte) error {
	v, err := valueOf(raw, &Column{})
	if err != nil {
		return err
	}
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%.50s is no text", raw)
	}
	*t = text(s)
	return nil
}

func texts(from []text) []string {
	to := make([]string, len(from))
	for i, t := range from {
		to[i] = string(t)
	}
	return to
}
