package statement

import (
	"strings"

	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

// reader reads the tokens of one statement.
type reader struct {
	tokens   []token
	database string
	failed   bool
}

// next returns and takes the next token. At the end it is the zero token.
func (r *reader) next() token {
	t := r.peek(0)
	if len(r.tokens) > 0 {
		r.tokens = r.tokens[1:]
	}
	return t
}

func (r *reader) peek(n int) token {
	if n < len(r.tokens) {
		return r.tokens[n]
	}
	return token{}
}

// accept takes the keywords if they come next.
func (r *reader) accept(keywords ...string) bool {
	for i, k := range keywords {
		if !r.peek(i).is(k) {
			return false
		}
	}
	r.tokens = r.tokens[len(keywords):]
	return true
}

// acceptAny takes all of these keywords that come next, in any order.
func (r *reader) acceptAny(keywords ...string) {
	for again := true; again; {
		again = false
		for _, k := range keywords {
			again = r.accept(k) || again
		}
	}
}

func (r *reader) acceptMark(c string) bool {
	if r.peek(0).mark(c) {
		r.next()
		return true
	}
	return false
}

// expect takes the keywords, or fails.
func (r *reader) expect(keywords ...string) {
	if !r.accept(keywords...) {
		r.failed = true
	}
}

// table takes the name of a table.
func (r *reader) table() string {
	if r.acceptMark(".") { // an old form for the default database
		return r.qualified(r.database, r.identifier())
	}
	first := r.identifier()
	if r.acceptMark(".") {
		return r.qualified(first, r.identifier())
	}
	return r.qualified(r.database, first)
}

func (r *reader) qualified(database, table string) string {
	if database == "" || table == "" {
		r.failed = true
	}
	return names.Join(database, table)
}

func (r *reader) identifier() string {
	t := r.next()
	switch t.kind {
	case word, name, quoted:
		return t.text
	case str, mark:
	}
	r.failed = true
	return ""
}

// tables takes names that are separated by commas.
func (r *reader) tables() []string {
	names := []string{r.table()}
	for r.acceptMark(",") {
		names = append(names, r.table())
	}
	return names
}

// skipTo takes tokens up to and with the keyword, or fails.
func (r *reader) skipTo(keyword string) {
	for len(r.tokens) > 0 {
		if r.next().is(keyword) {
			return
		}
	}
	r.failed = true
}

// end fails unless one of these keywords, or nothing, comes next.
func (r *reader) end(keywords ...string) {
	if len(r.tokens) == 0 {
		return
	}
	for _, k := range keywords {
		if r.peek(0).is(k) {
			return
		}
	}
	r.failed = true
}

// rest returns the remaining text, roughly as it was.
func (r *reader) rest() string {
	var b strings.Builder
	for _, t := range r.tokens {
		switch t.kind {
		case str:
			b.WriteString("'" + t.text + "'")
		case word, name, quoted, mark:
			b.WriteString(t.text)
		}
	}
	return b.String()
}
