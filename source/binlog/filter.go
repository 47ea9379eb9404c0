package binlog

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Filter chooses the wanted tables of a server. A pattern is "database.table". Each part is a pattern of [path.Match]: "*" stands
// for any characters, "?" for one, and "\" before a character for the character itself. Names are compared as the log spells
// them; upper and lower case differ.
//
// The zero Filter wants all tables. Two kinds of tables are wanted only where a pattern of Tables names them:
//
//   - those of the databases mysql, sys, information_schema and performance_schema: the name of the database without a wildcard;
//   - those of this project, whose names begin with "keystrand_": that beginning without a wildcard. Each commit writes to them,
//     so a source that reads them never comes to an end.
type Filter struct {
	// Tables are the wanted tables. Default: all.
	Tables []string
	// Except are tables that are not wanted, even if they match Tables.
	Except []string
}

// Check returns all errors of the patterns at once.
func (f Filter) Check() error {
	var errs []error
	for _, list := range []struct {
		name     string
		patterns []string
	}{{"Tables", f.Tables}, {"Except", f.Except}} {
		for _, p := range list.patterns {
			if err := check(p); err != nil {
				errs = append(errs, fmt.Errorf("%s: pattern %q: %w", list.name, p, err))
			}
		}
	}
	return errors.Join(errs...)
}

func check(pattern string) error {
	database, table, ok := cutPattern(pattern)
	if !ok || database == "" || table == "" {
		return errors.New(`it must be "database.table", with one dot; write "\." for a dot in a name`)
	}
	_, err1 := path.Match(database, "")
	_, err2 := path.Match(table, "")
	if err1 != nil || err2 != nil {
		return errors.New(`a "[" without "]", or nothing after a "\"`)
	}
	return nil
}

// Wants reports whether a table is wanted. Patterns that Check refuses match nothing.
func (f Filter) Wants(database, table string) bool {
	own := strings.HasPrefix(table, ownPrefix)
	wanted := len(f.Tables) == 0 && !isSystem(database) && !own
	for _, p := range f.Tables {
		_, t, _ := cutPattern(p)
		wanted = wanted || matches(p, database, table) && (!isSystem(database) || strings.HasPrefix(p, database+".")) &&
			(!own || strings.HasPrefix(t, ownPrefix))
	}
	return wanted && !slices.ContainsFunc(f.Except, func(p string) bool { return matches(p, database, table) })
}

// String returns a text that is the same for two filters with the same patterns, in whatever order.
func (f Filter) String() string {
	return fmt.Sprintf("tables %q except %q", sorted(f.Tables), sorted(f.Except))
}

func sorted(patterns []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(patterns)))
}

// ownPrefix begins the names of the tables in which this project keeps progress, diverted messages and handled ones.
const ownPrefix = "keystrand_"

func isSystem(database string) bool {
	switch database {
	case "mysql", "sys", "information_schema", "performance_schema":
		return true
	}
	return false
}

func matches(pattern, database, table string) bool {
	d, t, ok := cutPattern(pattern)
	return ok && match(d, database) && match(t, table)
}

// match is path.Match for names in which "/" is a character like any other. No name has the character that stands for it.
func match(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
	return ok && err == nil
}

// cutPattern returns the two parts of a pattern. It returns false if there is not exactly one dot between them.
func cutPattern(pattern string) (database, table string, ok bool) {
	dot := -1
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '.':
			if dot >= 0 {
				return "", "", false
			}
			dot = i
		}
	}
	if dot < 0 {
		return "", "", false
	}
	return pattern[:dot], pattern[dot+1:], true
}
