package mysql

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// The log has the primary key of a table and none of its other unique keys. They are read from the server, which tells how they
// are now: behind the place that the reader has reached, by as much as it lags. So a definition counts from the place of its
// reading on, together with the one before it until the reader has passed that place. A statement that changes the table makes
// both old.

// definition is what the server told about the keys of a table. It is immutable.
type definition struct {
	// Keys are all unique keys.
	Keys []key `json:"k,omitempty"`
	// Generated are the columns that the server computes.
	Generated []string `json:"g,omitempty"`
	// Unknown reports that the keys are not known: the table was gone, or one of its keys is of a kind whose columns do not
	// tell which rows meet.
	Unknown bool `json:"u,omitempty"`
}

type key struct {
	Name     string   `json:"n"`
	Columns  []string `json:"c"`
	Prefixes []int    `json:"p,omitempty"` // nil: the whole values
}

// keys are the definitions of a table that may hold for the next row. It is the state of the table.
type keys struct {
	Old    []definition `json:"o,omitempty"` // held before the last statement that changed the table
	New    *definition  `json:"n,omitempty"` // nil: to be read
	Behind demux.Place  `json:"b,omitempty"` // the place of the reading of New; empty: passed

	behind place // Behind
}

// parseKeys reads a state. A state that cannot be read is as none: the definition is read again.
func parseKeys(state string) *keys {
	k := &keys{}
	if state == "" || json.Unmarshal([]byte(state), k) != nil {
		return &keys{}
	}
	if k.Behind != "" {
		p, err := parsePlace(k.Behind)
		if err != nil {
			return &keys{}
		}
		k.behind = p
	}
	return k
}

func (k *keys) state() string {
	b, err := json.Marshal(k)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(b)
}

// stale returns the keys behind a statement that changes the table.
func (k *keys) stale() *keys {
	if k.New == nil {
		return k
	}
	if k.behind == nil {
		return &keys{Old: []definition{*k.New}}
	}
	old := slices.Clone(k.Old) // New may have been read after the statement
	if !slices.ContainsFunc(old, func(d definition) bool { return reflect.DeepEqual(d, *k.New) }) {
		old = append(old, *k.New)
	}
	return &keys{Old: old}
}

// read returns the keys with a definition that was read before the server's log ended at a place.
func (k *keys) read(d definition, behind place) *keys {
	return &keys{Old: k.Old, New: &d, Behind: behind.text(), behind: behind}
}

// passed returns the keys when the reader has reached the place of the reading.
func (k *keys) passed() *keys { return &keys{New: k.New} }

// definitions returns all that may hold.
func (k *keys) definitions() []definition {
	if k.New == nil {
		return k.Old
	}
	return append(slices.Clone(k.Old), *k.New)
}

// definition asks for the keys of a table as they are now.
func (s *server) definition(ctx context.Context, f facts, database, table string) (definition, error) {
	same := func(r []string) bool {
		if f.foldsNames() {
			return strings.EqualFold(r[0], database) && strings.EqualFold(r[1], table)
		}
		return r[0] == database && r[1] == table
	}
	columns, err := s.query(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, GENERATION_EXPRESSION, DATA_TYPE FROM information_schema.COLUMNS "+
		"WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?", database, table)
	if err != nil {
		return definition{}, err
	}
	d := definition{Unknown: true} // the user may not see it, or it is gone
	types := make(map[string]string)
	for _, r := range columns {
		if same(r) {
			d.Unknown = false
			types[r[2]] = strings.ToLower(r[4])
			if r[3] != "" {
				d.Generated = append(d.Generated, r[2])
			}
		}
	}
	parts, err := s.query(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS "+
		"WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX", database, table)
	if err != nil {
		return definition{}, err
	}
	for _, r := range parts {
		if !same(r) {
			continue
		}
		if n := len(d.Keys); n == 0 || d.Keys[n-1].Name != r[2] {
			d.Keys = append(d.Keys, key{Name: r[2]})
		}
		k := &d.Keys[len(d.Keys)-1]
		k.Columns = append(k.Columns, r[3]) // an expression has none: the empty name is that of no column
		prefix, _ := strconv.Atoi(r[4])
		k.Prefixes = append(k.Prefixes, prefix)
	}
	period := false
	for i := range d.Keys {
		k := &d.Keys[i]
		if !slices.ContainsFunc(k.Prefixes, func(n int) bool { return n > 0 }) {
			k.Prefixes = nil
		}
		n := len(k.Columns)
		period = period || n > 1 && temporal[types[k.Columns[n-1]]] && temporal[types[k.Columns[n-2]]]
	}
	if period && f.mariadb() {
		overlaps, err := s.withoutOverlaps(ctx, database, table)
		if err != nil {
			return definition{}, err
		}
		d.Unknown = d.Unknown || overlaps
	}
	return d, nil
}

// temporal are the types of the two columns of a period.
//
//nolint:gochecknoglobals // immutable table
var temporal = map[string]bool{"date": true, "datetime": true, "timestamp": true}

// withoutOverlaps reports whether a key of the table is of periods: two rows meet there whose values differ. No table of
// information_schema tells it before MariaDB 11.4.
func (s *server) withoutOverlaps(ctx context.Context, database, table string) (bool, error) {
	quote := func(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
	rows, err := s.query(ctx, "SHOW CREATE TABLE "+quote(database)+"."+quote(table))
	if n, _ := code(err); n != 0 && !temporary(err) {
		return true, nil // gone since, or not for this user: the keys are not known
	}
	if err != nil {
		return false, err
	}
	return len(rows) == 0 || len(rows[0]) < 2 || strings.Contains(strings.ToUpper(rows[0][1]), "WITHOUT OVERLAPS"), nil
}
