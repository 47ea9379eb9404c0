package recorded

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// Recordings in testdata. Each is made by NAME.sql there.
const (
	Bank       = "bank"       // transfers between accounts: transactions over two tables, savepoints, keys that change, deletes
	Types      = "types"      // every column type, with its extreme values, and every kind of key
	DDL        = "ddl"        // tables that are changed, swapped, dropped and created again
	XA         = "xa"         // two-phase transactions
	Partial    = "partial"    // sessions that log statements, or rows without some columns
	Compressed = "compressed" // compressed rows and statements
	Phases     = "phases"     // ALTER TABLE in two phases
	Loading    = "load"       // LOAD DATA as rows and as a statement
)

// Flavors of a server, in go-mysql's words.
const (
	MariaDB = "mariadb"
	MySQL   = "mysql"
)

//go:embed testdata
var testdata embed.FS

// A Recording is the binary log of a server, and what the server says about itself. Its methods return changed copies, so several
// tests may share one.
type Recording struct {
	Flavor     string
	Files      []File
	Variables  map[string]string // global variables, by names in lower case
	Columns    Table             // information_schema.columns, as it was at the end
	Statistics Table             // information_schema.statistics, as it was at the end
	Tables     map[string]Table  // the rows of db.table, as they were at the end
}

// A File is one file of a binary log.
type File struct {
	Name   string
	Events []Event
}

// A Table is the result of a query. A value is a string or nil.
type Table struct {
	Columns []string
	Rows    [][]any
}

// Load returns a recording.
func Load(tb testing.TB, name string) *Recording {
	tb.Helper()
	r, err := load(path.Join("testdata", name))
	if err != nil {
		tb.Fatalf("load recording %s: %v", name, err)
	}
	return r
}

func load(dir string) (*Recording, error) {
	r := &Recording{Flavor: MariaDB, Variables: map[string]string{}, Tables: map[string]Table{}}
	logs, err := fs.Glob(testdata, dir+"/binlog.*.gz")
	if err != nil || len(logs) == 0 {
		return nil, fmt.Errorf("no file %s/binlog.*.gz: %w", dir, err)
	}
	for _, name := range logs {
		f, err := loadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r.Files = append(r.Files, f)
	}
	variables, err := loadTable(dir + "/variables.tsv")
	if err != nil {
		return nil, err
	}
	for _, row := range variables.Rows {
		r.Variables[strings.ToLower(fmt.Sprint(row[0]))] = fmt.Sprint(row[1])
	}
	if r.Columns, err = loadTable(dir + "/columns.tsv"); err != nil {
		return nil, err
	}
	if r.Statistics, err = loadTable(dir + "/statistics.tsv"); err != nil {
		return nil, err
	}
	tables, err := fs.Glob(testdata, dir+"/tables/*.tsv.gz")
	if err != nil {
		return nil, err
	}
	for _, name := range tables {
		if r.Tables[strings.TrimSuffix(path.Base(name), ".tsv.gz")], err = loadTable(name); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// unpack reads a file, and uncompresses it if its name ends in .gz.
func unpack(name string) ([]byte, error) {
	content, err := testdata.ReadFile(name)
	if err != nil || path.Ext(name) != ".gz" {
		return content, err
	}
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func loadFile(name string) (File, error) {
	raw, err := unpack(name)
	if err != nil {
		return File{}, err
	}
	return ParseFile(strings.TrimSuffix(path.Base(name), ".gz"), raw)
}

// loadTable reads the output of the client's batch mode: a line of names, then a line a row.
func loadTable(name string) (Table, error) {
	text, err := unpack(name)
	if err != nil {
		return Table{}, err
	}
	var t Table
	unescape := strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t", `\0`, "\x00")
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if t.Columns == nil {
			t.Columns = cells
			continue
		}
		row := make([]any, len(cells))
		for i, cell := range cells {
			if cell != "NULL" {
				row[i] = unescape.Replace(cell)
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t, nil
}

// Events returns the events of all files.
func (r *Recording) Events() []Event {
	var all []Event
	for _, f := range r.Files {
		all = append(all, f.Events...)
	}
	return all
}

// Find returns the number of the first event at or after the one of number from that match accepts. The events are numbered over
// all files, from 0. It returns -1 if there is none.
func (r *Recording) Find(from int, match func(Event) bool) int {
	for n, e := range r.Events() {
		if n >= from && match(e) {
			return n
		}
	}
	return -1
}

// Purge removes the files before the named one, as PURGE BINARY LOGS does.
func (r *Recording) Purge(file string) *Recording {
	c := *r
	c.Files = slices.DeleteFunc(slices.Clone(r.Files), func(f File) bool { return f.Name < file })
	return &c
}

// Set changes a global variable.
func (r *Recording) Set(variable, value string) *Recording {
	c := *r
	c.Variables = maps.Clone(r.Variables)
	c.Variables[strings.ToLower(variable)] = value
	return &c
}

// Corrupt changes a byte of event n, so that its checksum is wrong.
func (r *Recording) Corrupt(n int) *Recording {
	return r.edit(n, func(e Event) []Event {
		e.Raw = slices.Clone(e.Raw)
		e.Raw[len(e.Raw)-checksumSize-1] ^= 1
		return []Event{e}
	})
}

// Truncate removes the second half of the body of event n. Its header keeps the old size.
func (r *Recording) Truncate(n int) *Recording {
	return r.edit(n, func(e Event) []Event {
		e.Raw = e.Raw[:headerSize+(len(e.Raw)-headerSize)/2]
		return []Event{e}
	})
}

// Shift moves event n and the later ones of its file to positions that are higher by so many bytes. Positions in events have 32
// bits: they wrap around beyond 4 GiB, as those of a server do.
func (r *Recording) Shift(n int, by uint64) *Recording {
	c := *r
	c.Files = slices.Clone(r.Files)
	for i, f := range c.Files {
		if n >= len(f.Events) {
			n -= len(f.Events)
			continue
		}
		f.Events = slices.Clone(f.Events)
		for k := n; k < len(f.Events); k++ {
			f.Events[k] = f.Events[k].at(f.Events[k].Start + by)
		}
		c.Files[i] = f
		break
	}
	return &c
}

// Append adds events to the last file.
func (r *Recording) Append(events ...Event) *Recording {
	c := *r
	c.Files = slices.Clone(r.Files)
	last := &c.Files[len(c.Files)-1]
	last.Events = slices.Clone(last.Events)
	for _, e := range events {
		last.Events = append(last.Events, e.at(last.end()))
	}
	return &c
}

func (r *Recording) edit(n int, change func(Event) []Event) *Recording {
	c := *r
	c.Files = slices.Clone(r.Files)
	for i, f := range c.Files {
		if n < len(f.Events) {
			f.Events = slices.Concat(f.Events[:n:n], change(f.Events[n]), f.Events[n+1:])
			c.Files[i] = f
			return &c
		}
		n -= len(f.Events)
	}
	panic(fmt.Sprintf("recorded: %d events after the last", n))
}

func (r *Recording) file(name string) (File, bool) {
	for _, f := range r.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

// at returns the number of the event that begins at a position, or -1.
func (f File) at(pos uint32) int {
	return slices.IndexFunc(f.Events, func(e Event) bool { return uint32(e.Start) == pos })
}

func (f File) end() uint64 {
	if len(f.Events) == 0 {
		return uint64(len(magic))
	}
	return f.Events[len(f.Events)-1].End()
}
