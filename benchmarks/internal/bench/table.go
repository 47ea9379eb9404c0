// Package bench is what the benchmark commands share: how they print, which keys they draw, and where messages come
// from. Figures that it prints are those of one run on one machine: compare the ratios in it.
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

// Table prints rows as they come: aligned for people, or one JSON object a row. A row is a struct; its fields' json
// names are the columns.
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
		fmt.Fprintf(t.out, "\n%s\n", t.title)
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			t.width = append(t.width, max(len(name), width(v.Field(i).Interface()))+2)
			fmt.Fprintf(t.out, "%*s", t.width[i], name)
		}
		fmt.Fprintln(t.out)
	}
	for i := range v.NumField() {
		fmt.Fprintf(t.out, "%*s", t.width[i], cell(v.Field(i).Interface()))
	}
	fmt.Fprintln(t.out)
}

func width(x any) int {
	if _, ok := x.(string); ok {
		return 24
	}
	return max(9, len(cell(x)))
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

// Machine says where a run took place: what stands beside its figures.
func Machine() string {
	return fmt.Sprintf("%s/%s, %d CPUs (GOMAXPROCS %d), %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.GOMAXPROCS(0), runtime.Version())
}
