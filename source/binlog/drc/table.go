package drc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// The columns of a generated table, by their place in a row.
const (
	idColumn = iota
	codeColumn
	amountColumn
	versionColumn
	noteColumn // that DDL adds and drops
)

// table is a generated table. It knows its rows, so that images are those of a real table.
type table struct {
	name    string // with its database
	random  *rand.Rand
	columns []Column
	keys    []Key
	rows    [][]any // never changed in place
	limit   int
	lastID  uint64
	freeID  uint64   // of the row deleted last; 0: none
	codes   []string // that no row has
}

func newTable(name string, limit int, random *rand.Rand) *table {
	t := &table{
		name: name, random: random, limit: limit,
		columns: []Column{
			idColumn:      {Name: "id", Type: "bigint", Unsigned: true},
			codeColumn:    {Name: "code", Type: "varchar", Collation: "utf8mb4_bin"},
			amountColumn:  {Name: "amount", Type: "decimal"},
			versionColumn: {Name: "version", Type: "int"},
		},
		keys: []Key{{Name: "PRIMARY", Columns: []string{"id"}}, {Name: "code", Columns: []string{"code"}}},
	}
	for i := range limit + 1 {
		t.codes = append(t.codes, fmt.Sprintf("code-%d", i+1))
	}
	return t
}

func (t *table) create() Record {
	return t.ddl("CREATE TABLE %s (id bigint unsigned PRIMARY KEY, code varchar(64) COLLATE utf8mb4_bin UNIQUE, " +
		"amount decimal(12,2), version int)")
}

// alter adds the column note, or drops it.
func (t *table) alter() Record {
	note := Column{Name: "note", Type: "varchar", Collation: "utf8mb4_general_ci"}
	query := "ALTER TABLE %s ADD COLUMN note varchar(255) COLLATE utf8mb4_general_ci"
	columns := append(slices.Clone(t.columns[:noteColumn]), note)
	if len(t.columns) > noteColumn {
		query, columns = "ALTER TABLE %s DROP COLUMN note", t.columns[:noteColumn]
	}
	t.columns = columns
	for i, row := range t.rows {
		t.rows[i] = append(slices.Clone(row[:noteColumn]), make([]any, len(columns)-noteColumn)...)
	}
	return t.ddl(query)
}

func (t *table) ddl(query string) Record {
	database, name, _ := strings.Cut(t.name, ".")
	return Record{Type: DDL, Database: database, Query: fmt.Sprintf(query, name), Tables: []string{t.name}}
}

// change changes one row.
func (t *table) change() Record {
	what := t.random.IntN(10)
	switch {
	case len(t.rows) == 0, what < 3 && len(t.rows) < t.limit:
		return t.insert()
	case what < 4:
		return t.remove()
	default:
		return t.update(what)
	}
}

func (t *table) insert() Record {
	row := make([]any, len(t.columns))
	if row[idColumn] = t.newID(); t.freeID != 0 && t.random.IntN(2) == 0 {
		row[idColumn], t.freeID = t.freeID, 0
	}
	row[codeColumn] = t.takeCode()
	row[versionColumn] = int64(1)
	t.fill(row)
	t.rows = append(t.rows, row)
	return t.row(Insert, nil, row)
}

func (t *table) remove() Record {
	i := t.random.IntN(len(t.rows))
	row := t.rows[i]
	t.rows[i] = t.rows[len(t.rows)-1]
	t.rows = t.rows[:len(t.rows)-1]
	t.freeID, _ = row[idColumn].(uint64)
	t.giveBack(row[codeColumn])
	return t.row(Delete, row, nil)
}

func (t *table) update(what int) Record {
	i := t.random.IntN(len(t.rows))
	before := t.rows[i]
	after := slices.Clone(before)
	switch what {
	case 4:
		after[idColumn] = t.newID()
	case 5, 6:
		after[codeColumn] = t.takeCode()
		t.giveBack(before[codeColumn])
	}
	version, _ := before[versionColumn].(int64)
	after[versionColumn] = version + 1
	t.fill(after)
	t.rows[i] = after
	return t.row(Update, before, after)
}

func (t *table) newID() uint64 {
	t.lastID++
	return t.lastID
}

// takeCode returns a code that no row has, or NULL. There is always one: there are more codes than rows.
func (t *table) takeCode() any {
	if t.random.IntN(8) == 0 {
		return nil
	}
	i := len(t.codes) - 1 - t.random.IntN(min(4, len(t.codes))) // likely one that was freed lately
	code := t.codes[i]
	t.codes = slices.Delete(t.codes, i, i+1)
	return code
}

func (t *table) giveBack(code any) {
	if code, ok := code.(string); ok {
		t.codes = append(t.codes, code)
	}
}

func (t *table) fill(row []any) {
	row[amountColumn] = fmt.Sprintf("%d.%02d", t.random.IntN(1000), t.random.IntN(100))
	if len(row) > noteColumn {
		row[noteColumn] = fmt.Sprintf("note %d", t.random.IntN(1000))
	}
}

func (t *table) row(kind Kind, before, after []any) Record {
	return Record{Type: Row, Table: t.name, Kind: kind, Before: before, After: after, Columns: t.columns, Keys: t.keys}
}
