// Package names joins the names of a database and a table to the name of a stream, "database.table", and takes them apart. Two
// tables never have the same name: a dot or a backslash in the name of the database has a backslash before it.
package names

import "strings"

// Join returns "database.table".
func Join(database, table string) string {
	if !strings.ContainsAny(database, special) {
		return database + "." + table
	}
	return string(Append(nil, []byte(database), []byte(table)))
}

// special are the characters of a database that have a backslash before them.
const special = `.\`

// Append appends what Join returns to dst.
func Append(dst, database, table []byte) []byte {
	for _, c := range database {
		if strings.IndexByte(special, c) >= 0 {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(append(dst, '.'), table...)
}

// Cut takes a name apart. It reports false for a text that Join does not return, or that lacks one of the two names.
func Cut(name string) (database, table string, ok bool) {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '.':
			database, table = unescape(name[:i]), name[i+1:]
			return database, table, database != "" && table != "" && Join(database, table) == name
		}
	}
	return "", "", false
}

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}
