package drc

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The bounds of a subscriber's timeout. A shorter one would make heartbeats the main load.
const (
	minTimeout = 100 * time.Millisecond
	maxTimeout = time.Hour
)

// request is what a client asks for when it opens a stream.
type request struct {
	subscriber string        // empty: the server chooses a name
	timeout    time.Duration // 0: the subscriber does not post
	selection  selection
}

// parseRequest reads the parameters of a stream. A parameter that it does not know is an error, so that a mistyped one is not
// ignored.
func parseRequest(t *topic, query string) (request, *Error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return request{}, &Error{Code: BadRequest, Message: "query: " + err.Error()}
	}
	r := request{selection: selection{from: oldest, tables: map[string]position{}, wanted: map[string]bool{}}}
	for name, values := range q {
		for _, value := range values {
			if err := r.set(t, name, value); err != nil {
				return request{}, err
			}
		}
	}
	return r, nil
}

func (r *request) set(t *topic, name, value string) (err *Error) {
	table, isTable := strings.CutPrefix(name, "from.")
	switch {
	case name == "from":
		r.selection.from, err = t.parse(value)
	case isTable:
		if r.selection.tables[table], err = t.parse(value); err != nil {
			err.Table = table
		} else if value == "none" {
			err = &Error{Code: BadRequest, Table: table, Message: "none is for all tables: want from=none"}
		}
	case name == "table":
		r.selection.patterns = append(r.selection.patterns, value)
		if !validPattern(value) {
			err = &Error{Code: BadRequest, Message: fmt.Sprintf("table %q: %s", value, wantPattern)}
		}
	case name == "subscriber":
		r.subscriber = value
	case name == "timeout":
		var bad error
		if r.timeout, bad = time.ParseDuration(value); bad != nil || r.timeout < minTimeout || r.timeout > maxTimeout {
			err = &Error{Code: BadRequest, Message: fmt.Sprintf("timeout %q: want %v to %v", value, minTimeout, maxTimeout)}
		}
	default:
		err = &Error{Code: BadRequest, Message: fmt.Sprintf(
			"unknown parameter %q: want table, from, from.TABLE, subscriber or timeout", name)}
	}
	return err
}

// selection is the part of a topic that a stream sends: tables, and for each where it begins.
type selection struct {
	patterns []string            // empty: all tables
	from     position            // of the tables that are not in the map
	tables   map[string]position // by table
	wanted   map[string]bool     // by table: matches a pattern
}

// begin replaces names by positions, and returns the lowest position, behind which the stream begins.
func (s *selection) begin(t *topic, oldestNow, endNow position) (position, *Error) {
	resolve := func(p position, table string) (position, *Error) {
		switch {
		case p == oldest:
			return oldestNow, nil
		case p == end:
			return endNow, nil
		case p > endNow:
			return 0, t.errorAt(Ahead, table, p, oldestNow, endNow)
		case p < oldestNow:
			return 0, t.errorAt(Gone, table, p, oldestNow, endNow)
		}
		return p, nil
	}
	var err *Error
	if s.from, err = resolve(s.from, ""); err != nil {
		return 0, err
	}
	lowest := s.from
	for _, table := range slices.Sorted(maps.Keys(s.tables)) {
		if s.tables[table], err = resolve(s.tables[table], table); err != nil {
			return 0, err
		}
		lowest = min(lowest, s.tables[table])
	}
	return lowest, nil
}

// sends reports whether a record of these tables in this transaction is to be sent. No tables: any.
func (s *selection) sends(tables []string, tx position) bool {
	return len(tables) == 0 || slices.ContainsFunc(tables, func(table string) bool {
		from, ok := s.tables[table]
		if !ok {
			from = s.from
		}
		return tx > from && s.wants(table)
	})
}

// wants reports whether the table is selected.
func (s *selection) wants(table string) bool {
	w, known := s.wanted[table]
	if !known {
		w = selects(s.patterns, table)
		s.wanted[table] = w
	}
	return w
}
