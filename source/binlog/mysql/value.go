package mysql

import (
	"errors"
	"fmt"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// value makes the values of a column from what go-mysql has decoded. go-mysql is not told which columns are unsigned: it would
// make a map of them for every row.
type value struct {
	column   string
	kind     byte
	meta     uint16
	unsigned bool
	binary   bool
	names    []string                     // of an enum or a set
	decode   func(string) (string, error) // to UTF-8; nil: it is
	fault    error                        // the column's values cannot be read
}

// decodeNames decodes the names of an enum or a set.
func (v *value) decodeNames() {
	if v.decode == nil {
		return
	}
	for i, name := range v.names {
		text, err := v.decode(name)
		if err != nil {
			v.fault = fmt.Errorf("name %q: %w", name, err)
			return
		}
		v.names[i] = text
	}
}

var errUnknownValue = errors.New("the value is not of the column's type")

// same reports whether the values stay as go-mysql has decoded them.
func (v *value) same() bool {
	switch {
	case v.fault != nil:
		return false
	case v.kind == gomysql.MYSQL_TYPE_LONGLONG:
		return !v.unsigned
	case v.kind == gomysql.MYSQL_TYPE_VARCHAR, v.kind == gomysql.MYSQL_TYPE_VAR_STRING, v.kind == gomysql.MYSQL_TYPE_STRING:
		return !v.binary && v.decode == nil
	case v.kind == gomysql.MYSQL_TYPE_BLOB, v.kind == gomysql.MYSQL_TYPE_GEOMETRY, v.kind == gomysql.MYSQL_TYPE_VECTOR:
		return v.binary
	}
	switch v.kind {
	case gomysql.MYSQL_TYPE_NEWDECIMAL, gomysql.MYSQL_TYPE_DOUBLE, gomysql.MYSQL_TYPE_JSON, gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_NEWDATE,
		gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_DATETIME2, gomysql.MYSQL_TYPE_TIMESTAMP, gomysql.MYSQL_TYPE_TIMESTAMP2:
		return true
	}
	return false
}

// of makes one value that is not NULL.
func (v *value) of(x any) (any, error) {
	y, err := v.make(x)
	if err == nil {
		err = v.fault
	}
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", v.column, err)
	}
	return y, nil
}

func (v *value) make(x any) (any, error) {
	switch x := x.(type) {
	case int8:
		if v.unsigned {
			return uint64(uint8(x)), nil
		}
		return int64(x), nil
	case int16:
		if v.unsigned {
			return uint64(uint16(x)), nil
		}
		return int64(x), nil
	case int32:
		if v.unsigned && v.kind == gomysql.MYSQL_TYPE_INT24 {
			return uint64(uint32(x) & (1<<24 - 1)), nil
		}
		if v.unsigned {
			return uint64(uint32(x)), nil
		}
		return int64(x), nil
	case int64:
		return v.ofInt64(x)
	case int:
		return int64(x), nil // a year
	case float32:
		return float64(x), nil
	case string:
		return v.ofString(x)
	case []byte:
		if v.binary {
			return x, nil
		}
		return v.ofString(string(x))
	case float64:
		return x, nil
	}
	return nil, fmt.Errorf("%w: %T", errUnknownValue, x)
}

func (v *value) ofInt64(x int64) (any, error) {
	switch {
	case v.kind == gomysql.MYSQL_TYPE_ENUM:
		if x == 0 {
			return "", nil // what a server without strict mode stores for a wrong name
		}
		if x < 0 || x > int64(len(v.names)) {
			return nil, fmt.Errorf("%w: enum has no name %d", errUnknownValue, x)
		}
		return v.names[x-1], nil
	case v.kind == gomysql.MYSQL_TYPE_SET:
		var names []string
		for i := range 64 {
			if uint64(x)&(1<<i) == 0 {
				continue
			}
			if i >= len(v.names) {
				return nil, fmt.Errorf("%w: set has no name %d", errUnknownValue, i+1)
			}
			names = append(names, v.names[i])
		}
		return strings.Join(names, ","), nil
	case v.unsigned || v.kind == gomysql.MYSQL_TYPE_BIT:
		return uint64(x), nil
	}
	return x, nil
}

func (v *value) ofString(x string) (any, error) {
	switch v.kind {
	case gomysql.MYSQL_TYPE_STRING, gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING, gomysql.MYSQL_TYPE_BLOB:
	case gomysql.MYSQL_TYPE_TIME2:
		if x == "00:00:00" && v.meta > 0 { // go-mysql leaves out the digits behind the point
			return x + ".000000"[:1+min(v.meta, 6)], nil
		}
		return x, nil
	default:
		return x, nil // decimal, date, JSON: ASCII, or UTF-8 already
	}
	if v.binary {
		b := make([]byte, max(len(x), v.width()))
		copy(b, x)
		return b, nil
	}
	if v.decode == nil {
		return x, nil
	}
	return v.decode(x)
}

// width returns the length of a binary(n), whose zeros at the right are not in the log; 0 for other columns.
func (v *value) width() int {
	if v.kind != gomysql.MYSQL_TYPE_STRING {
		return 0
	}
	return int(v.meta & 0xff) // at most 255
}
