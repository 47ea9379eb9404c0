package statement

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// token is a word, a quoted name, a string or a single character.
type token struct {
	kind tokenKind
	text string // of a word as it stands, of a name or a string without its quotes
}

type tokenKind uint8

const (
	word   tokenKind = iota + 1
	name             // in backticks
	quoted           // in double quotes: a name or a string, as sql_mode says
	str              // in single quotes
	mark             // any other character
)

// is reports whether the token is a keyword, which is given in upper case.
func (t token) is(keyword string) bool { return t.kind == word && strings.EqualFold(t.text, keyword) }

// mark reports whether the token is this character.
func (t token) mark(c string) bool { return t.kind == mark && t.text == c }

type tokens struct {
	list   []token
	broken bool // a quote or a comment is not closed, or a name is not UTF-8

	conditional bool // there is a comment that some versions of the server run and others do not
}

// lex splits a text. The text inside a comment that every server runs counts as if it stood outside. With executed, so does the
// text inside a comment that some run.
func lex(text string, mode Mode, executed bool) tokens {
	var ts tokens
	inside := false // of a comment that is executed
	for i := 0; i < len(text); {
		c := text[i]
		rest := text[i:]
		switch {
		case c == ' ' || '\t' <= c && c <= '\r' || c == 0:
			i++
		case c == '#' || strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' '):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			i += n
		case inside && strings.HasPrefix(rest, "*/"):
			inside = false
			i += 2
		case strings.HasPrefix(rest, "/*"):
			n, always := conditional(rest, mode)
			ts.conditional = ts.conditional || n > 0 && !always
			if n > 0 && (always || executed) {
				if inside {
					ts.broken = true
					return ts
				}
				inside = true
				i += n
				continue
			}
			n = strings.Index(rest[2:], "*/")
			if n < 0 {
				ts.broken = true
				return ts
			}
			if strings.Contains(rest[2:2+n], "/*") { // servers differ about comments inside comments
				ts.broken = true
				return ts
			}
			i += n + 4
		case c == '`' || c == '"' || c == '\'':
			t, n := quote(rest, mode)
			if n == 0 {
				ts.broken = true
				return ts
			}
			ts.list = append(ts.list, t)
			i += n
		case letter(c):
			n := 1
			for n < len(rest) && letter(rest[n]) {
				n++
			}
			if !utf8.ValidString(rest[:n]) {
				ts.broken = true
				return ts
			}
			ts.list = append(ts.list, token{word, rest[:n]})
			i += n
		default:
			ts.list = append(ts.list, token{mark, text[i : i+1]})
			i++
		}
	}
	ts.broken = ts.broken || inside
	for n := len(ts.list); n > 0 && ts.list[n-1].mark(";"); n-- {
		ts.list = ts.list[:n-1]
	}
	return ts
}

// conditional returns the length of the beginning of a comment that is executed, and whether every server that can be read
// executes it. It returns 0 for any other comment.
//
// The number is the lowest version that executes it. MariaDB executes none from 50700 to 99999 unless the comment begins with
// /*M!. The lowest versions that can be read are MariaDB 10.5 and MySQL 8.0.1.
func conditional(s string, mode Mode) (n int, always bool) {
	least := 50699
	switch {
	case strings.HasPrefix(s, "/*!"):
		n = len("/*!")
		if !mode.MariaDB {
			least = 80001
		}
	case strings.HasPrefix(s, "/*M!"):
		n = len("/*M!")
		if least = 100500; !mode.MariaDB {
			least = -1
		}
	default:
		return 0, false
	}
	digits := 0
	for digits < 6 && n+digits < len(s) && '0' <= s[n+digits] && s[n+digits] <= '9' {
		digits++
	}
	if digits == 0 {
		return n, least > 0
	}
	version, err := strconv.Atoi(s[n : n+digits])
	return n + digits, digits >= 5 && err == nil && version <= least
}

func letter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '$' || c >= utf8.RuneSelf
}

// quote reads a quoted name or string. It returns 0 if that is not closed.
func quote(s string, mode Mode) (token, int) {
	q := s[0]
	t := token{kind: str}
	switch q {
	case '`':
		t.kind = name
	case '"':
		t.kind = quoted
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == q && i+1 < len(s) && s[i+1] == q:
			b.WriteByte(q)
			i++
		case s[i] == q:
			t.text = b.String()
			if t.kind != str && !utf8.ValidString(t.text) {
				return token{}, 0
			}
			return t, i + 1
		case s[i] == '\\' && q != '`' && !mode.NoBackslashEscapes:
			if i+1 < len(s) {
				i++
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return token{}, 0
}
