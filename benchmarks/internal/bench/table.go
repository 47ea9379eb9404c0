// Package bench is shared by the benchmark commands: tables, random keys, child processes and Kafka topics. Figures are
// those of one run on one machine: compare the ratios within a run.
package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
)

// Table prints each row at once: aligned text, or one JSON object a row. A row is a struct; the JSON names of its fields
// are the columns. Text has the title instead of the column "part".
type Table struct {
	out   io.Writer
	json  bool
	title string
	width []int
}

// NewTable returns a table on standard output.
func NewTable(title string, asJSON bool) *Table {
	return &Table{out: os.Stdout, json: asJSON, title: title}
}

// Row prints one row. All rows of a table have the same type.
func (t *Table) Row(row any) {
	if t.json {
		_ = json.NewEncoder(t.out).Encode(row)
		return
	}
	v := reflect.ValueOf(row)
	if t.width == nil {
		_, _ = fmt.Fprintf(t.out, "\n%s\n", t.title)
		var names []any
		for field, value := range v.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			t.width = append(t.width, width(name, value.Interface()))
			names = append(names, name)
		}
		t.line(names, v)
	}
	var cells []any
	for _, value := range v.Fields() {
		cells = append(cells, value.Interface())
	}
	t.line(cells, v)
}

// line aligns strings to the left and figures to the right.
func (t *Table) line(cells []any, v reflect.Value) {
	var b strings.Builder
	for i, c := range cells {
		w := t.width[i]
		if v.Field(i).Kind() == reflect.String {
			w = -w
		}
		if w != 0 {
			fmt.Fprintf(&b, "%*s  ", w, cell(c))
		}
	}
	_, _ = fmt.Fprintln(t.out, strings.TrimRight(b.String(), " "))
}

// width returns the width of a column, from its first row; 0 leaves the column out.
func width(name string, x any) int {
	if _, ok := x.(string); !ok {
		return max(9, len(name), len(cell(x)))
	}
	if name == "part" {
		return 0
	}
	return max(24, len(name), len(cell(x)))
}

func cell(x any) string {
	if f, ok := x.(float64); ok {
		switch {
		case f == 0:
			return "-"
		case f < 10:
			return fmt.Sprintf("%.3f", f)
		case f < 1000:
			return fmt.Sprintf("%.1f", f)
		}
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprint(x)
}

// Machine describes this machine, for the heading of a run.
func Machine() string {
	return fmt.Sprintf("%s/%s, %d CPUs (GOMAXPROCS %d), %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.GOMAXPROCS(0), runtime.Version())
}
