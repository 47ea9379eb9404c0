package mysql_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// What the recording "types" has for each type, row by row. A name is that of a column.
func TestValuesOfEveryTypeAreExact(t *testing.T) {
	local := time.Local
	defer func() { time.Local = local }()
	time.Local = time.FixedZone("elsewhere", 5*3600) // timestamps are in UTC, wherever this runs
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.Types), mysql.Config{}, "types.[^r]*") // not types.rare
		all := mustRead(t, log)
		ns := strings.Repeat("\x00", 255)
		for table, want := range map[string][]map[string]any{
			"types.number": {
				{
					"id": uint64(math.MaxUint64), "i8": int64(127), "u8": uint64(255), "i16": int64(32767), "u16": uint64(65535),
					"i24": int64(8388607), "u24": uint64(16777215), "i32": int64(2147483647), "u32": uint64(4294967295),
					"i64": int64(math.MaxInt64), "u64": uint64(math.MaxUint64), "flag": int64(1),
					"d": "12345678901234567890.0123456789", "d5": "99999", "ud": "9999.99", "f": 1.5, "db": 2.5e300,
					"b1": uint64(1), "b13": uint64(0b1010101010101), "b64": uint64(math.MaxUint64),
				},
				{
					"id": uint64(0), "i8": int64(-128), "u8": uint64(0), "i16": int64(-32768), "u16": uint64(0), "i24": int64(-8388608),
					"u24": uint64(0), "i32": int64(math.MinInt32), "u32": uint64(0), "i64": int64(math.MinInt64), "u64": uint64(0),
					"d": "-12345678901234567890.0123456789", "d5": "-99999", "ud": "0.00", "f": float64(float32(-1.5e-30)), "db": -2.5e-300,
				},
				{
					"id": uint64(1 << 63), "i8": int64(1), "u8": uint64(128), "u16": uint64(32768), "u24": uint64(8388608), "u32": uint64(1 << 31),
					"u64": uint64(1 << 63), "d": "0.0000000001", "d5": "7", "ud": "0.05", "f": float64(16777216), "db": 0.1, "b64": uint64(1 << 63),
				},
				{"id": uint64(1), "i8": nil, "u64": nil, "d": nil, "f": nil, "b64": nil},
			},
			"types.moment": {
				{
					"id": int64(1), "d": "2024-02-29", "dt": "2024-02-29 23:59:59", "dt3": "2024-02-29 23:59:59.123",
					"dt6": "2024-02-29 23:59:59.123456", "ts": "2024-01-02 03:04:05", "ts3": "2024-01-02 03:04:05.678",
					"ts6": "2024-01-02 03:04:05.678901", "t": "01:02:03", "t2": "01:02:03.45", "t6": "01:02:03.456789", "y": int64(2024),
				},
				{
					"id": int64(2), "d": "0000-00-00", "dt": "0000-00-00 00:00:00", "dt3": "2024-00-00 01:02:03.004",
					"dt6": "2024-02-00 01:02:03.000009", "ts": "0000-00-00 00:00:00", "ts3": "1970-01-01 00:00:01.000",
					"ts6": "2038-01-19 03:14:07.999999", "t": "-838:59:59", "t2": "-838:59:58.99", "t6": "-00:00:00.000001", "y": int64(0),
				},
				{
					"id": int64(3), "d": "9999-12-31", "dt": "9999-12-31 23:59:59", "dt3": "1000-01-01 00:00:00.000",
					"dt6": "0001-01-01 00:00:00.000001", "ts": "1970-01-01 00:00:01", "ts3": "2024-03-31 02:30:00.000",
					"ts6": "2024-10-27 02:30:00.000001", "t": "838:59:59", "t2": "00:00:00.00", "t6": "-12:34:56.789000", "y": int64(2155),
				},
				{"id": int64(4), "d": nil, "ts": nil, "y": nil},
			},
			"types.words": {
				{
					"c4": "é😀", "v4": "日本😀", "v4bin": "A", "v3": "é", "a": "plain", "l1": "é€", "l2": "řž", "c1251": "Ж", "koi": "Ж",
					"gbk": "中文", "gb2312": "中文", "big5": "中文", "sjis": "日本", "cp932": "日本", "ujis": "日本", "euckr": "한국", "ucs2": "日本",
					"u16": "日本😀", "u16le": "日本😀", "u32": "日本😀", "tt": "é", "tx": "日本😀", "mt": "中文", "lt": "日本",
				},
				{"c4": "ab", "v4": "", "v4bin": "a", "a": "a b ", "l1": "", "gbk": "", "u32": "", "lt": ""},
				{"c4": nil, "l1": nil, "lt": nil},
			},
			"types.bytes": {
				{
					"bin": []byte("ab\x00\x00\x00"), "vb": []byte("cd"), "tb": []byte("\x001"), "bl": []byte("\x00\x00"), "mb": []byte("\xff\xfe"),
					"lb": []byte("\xff\x00"), "j": `{"a": [1, 2.50, null, "ü"]}`, "uu": []byte("\x12\x3eEg\xe8\x9b\x12\xd3\xa4VBfUD\x00\x00"),
					"ip6": []byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), "ip4": []byte{192, 0, 2, 1},
					"long_bin": []byte("x" + ns[1:]),
				},
				{
					"bin": []byte("ab\x00c\x00"), "vb": []byte("cd\x00"), "tb": []byte{}, "bl": []byte{}, "mb": []byte{}, "lb": []byte{},
					"j": `"text"`, "uu": make([]byte, 16), "ip6": make([]byte, 16), "ip4": make([]byte, 4), "long_bin": []byte(ns),
				},
				{"bin": make([]byte, 5), "vb": []byte("cd "), "tb": []byte(ns), "bl": bytes.Repeat([]byte("b"), 65535), "mb": nil, "uu": nil},
			},
			"types.choice": {
				{"e": "ü", "el": "é", "s": "x,w", "s64": "0,63"},
				{"e": "", "el": "b", "s": "", "s64": ""},
				{"e": nil, "el": nil, "s": nil, "s64": nil},
			},
			"types.made": {
				{"id": int64(1), "a": int64(10), "stored": int64(11), "virt": int64(12), "hidden": int64(7), "last": int64(3)},
				{"id": int64(2), "a": nil, "stored": nil, "virt": nil, "hidden": int64(7), "last": nil},
				{"id": int64(1), "a": int64(20), "stored": int64(21), "virt": int64(22), "hidden": int64(7), "last": int64(3)},
			},
		} {
			rows := rowsOf(all, table)
			if len(rows) < len(want) {
				t.Fatalf("%s: %d rows, want %d at least", table, len(rows), len(want))
			}
			for i, w := range want {
				for column, value := range w {
					if got := valueOf(t, rows[i].Table, rows[i].After, column); !reflect.DeepEqual(got, value) {
						t.Errorf("%s row %d: %s = %T %.60q, want %T %.60q", table, i, column, got, fmt.Sprint(got), value, fmt.Sprint(value))
					}
				}
			}
		}
	})
}

func valueOf(t *testing.T, table *binlog.Table, image []any, column string) any {
	t.Helper()
	for i, c := range table.Columns {
		if c.Name == column {
			return image[i]
		}
	}
	t.Fatalf("%s has no column %s", table, column)
	return nil
}

// A character set without a decoder is an error that names the column, and stops that table alone.
func TestValueOfUnknownCharsetStopsItsTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.Types), mysql.Config{})
		all, err := readAll(t, log, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		var faults []string
		for _, e := range all {
			if e.Kind == demux.Fault {
				faults = append(faults, e.Table+" "+e.Err.Error())
			}
		}
		if len(faults) != 1 || !strings.HasPrefix(faults[0], "types.rare ") ||
			!strings.Contains(faults[0], "column swe: its character set cannot be decoded: swe7") {
			t.Errorf("faults = %q, want one about column swe of types.rare", faults)
		}
		if n := len(rowsOf(all, "types.rare")); n != 0 {
			t.Errorf("%d rows of types.rare", n)
		}
	})
}

// The rows of each log, applied one after the other, make the tables that the server had at the end.
func TestRowsMakeTheTablesOfTheServer(t *testing.T) {
	for _, name := range []string{recorded.Bank, recorded.Types, recorded.Compressed} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := recorded.Load(t, name)
				log, _ := from(t, r, mysql.Config{}, name+".[^r]*") // not types.rare
				all := mustRead(t, log)
				tables := make(map[string]map[string]int)
				names := make(map[string][]string)
				for name := range r.Tables {
					if name != "types.rare" {
						names[name] = compared(all, name, r)
					}
				}
				for _, e := range all {
					for i := range e.Rows {
						row := &e.Rows[i]
						columns := names[row.Table.String()]
						table := tables[row.Table.String()]
						if table == nil {
							table = make(map[string]int)
							tables[row.Table.String()] = table
						}
						if row.Before != nil {
							b := printed(t, row.Table, row.Before, columns)
							if table[b] == 0 {
								t.Fatalf("%s: %s of a row that is not there: %s", row.Table, row.Kind, b)
							}
							if table[b]--; table[b] == 0 {
								delete(table, b)
							}
						}
						if row.After != nil {
							table[printed(t, row.Table, row.After, columns)]++
						}
					}
				}
				for name, want := range r.Tables {
					if name == "types.rare" {
						continue
					}
					columns := names[name]
					for _, cells := range want.Rows {
						text := printedByServer(rowsOf(all, name)[0].Table, columns, want.Columns, cells)
						if tables[name][text]--; tables[name][text] <= 0 {
							if tables[name][text] < 0 {
								t.Errorf("%s: the server has %s", name, text)
							}
							delete(tables[name], text)
						}
					}
					if len(tables[name]) > 0 {
						t.Errorf("%s: the server does not have %v", name, tables[name])
					}
				}
			})
		})
	}
}

// compared returns the columns that a table has from its first row on, but for those that the server shows in another form than it
// stores.
func compared(all []demux.Event, table string, r *recorded.Recording) []string {
	first := rowsOf(all, table)[0].Table
	return slices.DeleteFunc(slices.Clone(r.Tables[table].Columns), func(c string) bool {
		return typeOf(first, c) == "" || slices.Contains([]string{"uu", "ip6", "ip4"}, c)
	})
}

// printed returns some columns of a row as text.
func printed(t *testing.T, table *binlog.Table, image []any, columns []string) string {
	t.Helper()
	var b strings.Builder
	for _, c := range columns {
		v := valueOf(t, table, image, c)
		switch x := v.(type) {
		case float64:
			v = digits(table, c, x)
		case []byte:
			v = string(x)
		}
		fmt.Fprintf(&b, "%s=%q ", c, fmt.Sprint(v))
	}
	return b.String()
}

// printedByServer returns a row of the server as text like that of printed.
func printedByServer(table *binlog.Table, columns, names []string, cells []any) string {
	var b strings.Builder
	for _, c := range columns {
		v := cells[slices.Index(names, c)]
		if s, ok := v.(string); ok {
			switch typeOf(table, c) {
			case "float", "double":
				x, _ := strconv.ParseFloat(s, 64)
				v = digits(table, c, x)
			case "bit":
				var n uint64
				for _, x := range []byte(s) {
					n = n<<8 | uint64(x)
				}
				v = n
			}
		}
		fmt.Fprintf(&b, "%s=%q ", c, fmt.Sprint(v))
	}
	return b.String()
}

func typeOf(table *binlog.Table, column string) string {
	for _, c := range table.Columns {
		if c.Name == column {
			return c.Type
		}
	}
	return ""
}

// digits returns as many digits as the server shows: 6 of a float.
func digits(table *binlog.Table, column string, x float64) string {
	if typeOf(table, column) == "float" {
		return strconv.FormatFloat(x, 'g', 6, 64)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}
