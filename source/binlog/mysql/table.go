package mysql

import (
	"errors"
	"fmt"
	"slices"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog"
)

// table is a wanted table as the log describes it before its rows. One goroutine uses it.
type table struct {
	raw   []byte // the description, to notice another one
	event *replication.TableMapEvent
	fault error // the description lacks what rows need

	columns []binlog.Column
	values  []value // how to make each column's values
	changed []int   // columns whose values are not as go-mysql decodes them

	keys   *keys         // that current was made with
	shared *binlog.Table // of the rows; nil: to be made from columns and keys
}

// newTable reads a description, which has its optional parts.
func newTable(e *replication.TableMapEvent, collations map[uint64]collation) *table {
	t := &table{event: e}
	if len(e.ColumnName) != int(e.ColumnCount) {
		t.fault = fmt.Errorf("the log has no names of its columns: run SET GLOBAL binlog_row_metadata = 'FULL', and put it into the " +
			"server's configuration file")
		return t
	}
	for _, i := range e.PrimaryKey {
		if i >= e.ColumnCount || len(e.PrimaryKeyPrefix) != len(e.PrimaryKey) {
			t.fault = errors.New("its description in the log is malformed: the primary key has columns that are not there")
			return t
		}
	}
	unsigned, texts, names := e.UnsignedMap(), e.CollationMap(), e.EnumSetCollationMap()
	enums, sets := e.EnumStrValueMap(), e.SetStrValueMap()
	for i, name := range e.ColumnNameString() {
		c := binlog.Column{Name: name, Unsigned: unsigned[i]}
		id, text := texts[i]
		if e.IsEnumOrSetColumn(i) {
			id, text = names[i]
		}
		col, known := collations[id]
		binary := !text || col.charset == "binary"
		c.Type = typeName(e.ColumnType[i], e.ColumnMeta[i], binary)
		if !binary {
			c.Collation = col.name
		}
		v := value{column: name, kind: e.ColumnType[i], unsigned: c.Unsigned, binary: binary, meta: e.ColumnMeta[i]}
		switch {
		case e.IsEnumColumn(i):
			v.names, v.kind = enums[i], gomysql.MYSQL_TYPE_ENUM
		case e.IsSetColumn(i):
			v.names, v.kind = sets[i], gomysql.MYSQL_TYPE_SET
		}
		if !binary {
			v.decode, v.fault = decoderOf(col.charset)
			if !known {
				v.fault = fmt.Errorf("collation %d is not in the server's list", id)
			}
		}
		v.decodeNames()
		t.columns = append(t.columns, c)
		t.values = append(t.values, v)
		if !v.same() {
			t.changed = append(t.changed, i)
		}
	}
	return t
}

// with returns the table of rows that these keys order.
func (t *table) with(database, name string, k *keys) *binlog.Table {
	if t.shared != nil && t.keys == k {
		return t.shared
	}
	b := &binlog.Table{Database: database, Name: name, Columns: slices.Clone(t.columns)}
	add := func(u binlog.UniqueKey) {
		if !slices.ContainsFunc(b.Keys, func(o binlog.UniqueKey) bool {
			return o.Name == u.Name && slices.Equal(o.Columns, u.Columns) && slices.Equal(o.Prefixes, u.Prefixes)
		}) {
			b.Keys = append(b.Keys, u)
		}
	}
	if len(t.event.PrimaryKey) > 0 {
		add(primaryKey(t.event))
	}
	for _, d := range k.definitions() {
		b.Whole = b.Whole || d.Unknown
		for _, one := range d.Keys {
			u := binlog.UniqueKey{Name: one.Name, Prefixes: one.Prefixes}
			for _, name := range one.Columns {
				i := slices.IndexFunc(t.columns, func(c binlog.Column) bool { return c.Name == name })
				b.Whole = b.Whole || i < 0
				u.Columns = append(u.Columns, i)
			}
			add(u)
		}
		for _, name := range d.Generated {
			for i := range b.Columns {
				b.Columns[i].Generated = b.Columns[i].Generated || b.Columns[i].Name == name
			}
		}
	}
	if b.Whole {
		b.Keys = nil // some of them have unknown columns
	}
	t.keys, t.shared = k, b
	return b
}

func primaryKey(e *replication.TableMapEvent) binlog.UniqueKey {
	u := binlog.UniqueKey{Name: "PRIMARY"}
	for i, c := range e.PrimaryKey {
		u.Columns = append(u.Columns, int(c))
		if n := e.PrimaryKeyPrefix[i]; n > 0 && u.Prefixes == nil {
			u.Prefixes = make([]int, len(e.PrimaryKey))
		}
		if u.Prefixes != nil {
			u.Prefixes[i] = int(e.PrimaryKeyPrefix[i])
		}
	}
	return u
}

// typeName returns the name of a type without its length. Types that the log does not tell apart have the name of the one that
// it writes: json of MariaDB is "longtext", uuid is "binary".
func typeName(kind byte, meta uint16, binary bool) string {
	switch kind {
	case gomysql.MYSQL_TYPE_TINY:
		return "tinyint"
	case gomysql.MYSQL_TYPE_SHORT:
		return "smallint"
	case gomysql.MYSQL_TYPE_INT24:
		return "mediumint"
	case gomysql.MYSQL_TYPE_LONG:
		return "int"
	case gomysql.MYSQL_TYPE_LONGLONG:
		return "bigint"
	case gomysql.MYSQL_TYPE_FLOAT:
		return "float"
	case gomysql.MYSQL_TYPE_DOUBLE:
		return "double"
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		return "decimal"
	case gomysql.MYSQL_TYPE_YEAR:
		return "year"
	case gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_NEWDATE:
		return "date"
	case gomysql.MYSQL_TYPE_TIME, gomysql.MYSQL_TYPE_TIME2:
		return "time"
	case gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_DATETIME2:
		return "datetime"
	case gomysql.MYSQL_TYPE_TIMESTAMP, gomysql.MYSQL_TYPE_TIMESTAMP2:
		return "timestamp"
	case gomysql.MYSQL_TYPE_BIT:
		return "bit"
	case gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING:
		return either(binary, "varbinary", "varchar")
	case gomysql.MYSQL_TYPE_STRING:
		switch byte(meta >> 8) {
		case gomysql.MYSQL_TYPE_ENUM:
			return "enum"
		case gomysql.MYSQL_TYPE_SET:
			return "set"
		}
		return either(binary, "binary", "char")
	case gomysql.MYSQL_TYPE_BLOB:
		size := map[uint16]string{1: "tiny", 3: "medium", 4: "long"}[meta]
		return size + either(binary, "blob", "text")
	case gomysql.MYSQL_TYPE_JSON:
		return "json"
	case gomysql.MYSQL_TYPE_GEOMETRY:
		return "geometry"
	case gomysql.MYSQL_TYPE_VECTOR:
		return "vector"
	}
	return fmt.Sprintf("type %d", kind)
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
