package recorded

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
)

// grantsVariable is the name under which a recording keeps other rights than all: see Recording.Set.
const grantsVariable = "grants"

// answer returns what the server replies to a statement that returns rows. Arguments replace the question marks of a prepared
// statement.
func (r *Recording) answer(query string, args []any) (Table, error) {
	q := &reader{tokens: tokenize(query), args: args}
	switch {
	case q.skip("show", "global", "variables"), q.skip("show", "session", "variables"), q.skip("show", "variables"):
		return r.showVariables(q)
	case q.skip("show", "master", "status"), q.skip("show", "binary", "log", "status"), q.skip("show", "binlog", "status"):
		last := r.Files[len(r.Files)-1]
		return Table{
			Columns: []string{"File", "Position", "Binlog_Do_DB", "Binlog_Ignore_DB"},
			Rows:    [][]any{{last.Name, strconv.FormatUint(last.end(), 10), "", ""}},
		}, q.end()
	case q.skip("show", "binary", "logs"), q.skip("show", "master", "logs"):
		t := Table{Columns: []string{"Log_name", "File_size"}}
		for _, f := range r.Files {
			t.Rows = append(t.Rows, []any{f.Name, strconv.FormatUint(f.end(), 10)})
		}
		return t, q.end()
	case q.skip("show", "grants"):
		return Table{Columns: []string{"Grants"}, Rows: [][]any{{r.grants()}}}, nil
	case q.skip("select"):
		return r.selectFrom(q)
	}
	return Table{}, fmt.Errorf("recorded: no answer to the statement: %s", query)
}

func (r *Recording) grants() string {
	if g, ok := r.Variables[grantsVariable]; ok {
		return g
	}
	return "GRANT ALL PRIVILEGES ON *.* TO `" + User + "`@`%`"
}

func (r *Recording) showVariables(q *reader) (Table, error) {
	match := func(string) bool { return true }
	switch {
	case q.skip("like"):
		pattern := strings.ToLower(fmt.Sprint(q.value()))
		match = func(name string) bool { return like(pattern, name) }
	case q.skip("where", "variable_name"):
		wanted := q.condition()
		match = func(name string) bool { return wanted(name) }
	}
	t := Table{Columns: []string{"Variable_name", "Value"}}
	for name, value := range r.Variables {
		if match(name) && name != grantsVariable {
			t.Rows = append(t.Rows, []any{name, value})
		}
	}
	slices.SortFunc(t.Rows, func(a, b []any) int { return cmp.Compare(fmt.Sprint(a[0]), fmt.Sprint(b[0])) })
	return t, q.end()
}

// like reports whether name matches a pattern of LIKE, whose underscores it takes for any letter.
func like(pattern, name string) bool {
	ok, err := path.Match(strings.NewReplacer("%", "*", `\_`, "_", "_", "?").Replace(pattern), name)
	return err == nil && ok
}

// selectFrom answers a query of variables, or of two tables of information_schema.
func (r *Recording) selectFrom(q *reader) (Table, error) {
	var wanted, names []string
	for {
		expression := q.next()
		if q.skip("(", ")") {
			expression += "()"
		}
		name := expression
		if q.skip("as") || q.skipAlias() {
			name = q.next()
		}
		wanted, names = append(wanted, strings.ToLower(expression)), append(names, name)
		if !q.skip(",") {
			break
		}
	}
	if !q.skip("from") {
		row := make([]any, len(wanted))
		for i, expression := range wanted {
			v, ok := r.scalar(expression)
			if !ok {
				return Table{}, fmt.Errorf("recorded: no value of %s", expression)
			}
			row[i] = v
		}
		return Table{Columns: names, Rows: [][]any{row}}, q.end()
	}
	var from Table
	switch table := strings.ToLower(q.next()); table {
	case "information_schema.columns":
		from = r.Columns
	case "information_schema.statistics":
		from = r.Statistics
	default:
		return Table{}, fmt.Errorf("recorded: no table %s", table)
	}
	if q.skip("as") || q.skipAlias() {
		q.next()
	}
	return from.query(q, wanted, names)
}

func (r *Recording) scalar(expression string) (any, bool) {
	name, variable := strings.CutPrefix(expression, "@@")
	if !variable {
		switch expression {
		case "version()":
			v, ok := r.Variables["version"]
			return v, ok
		case "current_user()":
			return User + "@%", true
		}
		if _, err := strconv.Atoi(expression); err == nil {
			return expression, true
		}
		return nil, false
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "global."), "session.")
	v, ok := r.Variables[name]
	switch v { // SHOW has these words, SELECT has numbers
	case "ON":
		v = "1"
	case "OFF":
		v = "0"
	}
	return v, ok
}

// query reads the rest of a query: its conditions and its order.
func (t Table) query(q *reader, wanted, names []string) (Table, error) {
	var columns []int
	for _, name := range wanted {
		columns = append(columns, t.column(q, name))
	}
	rows := slices.Clone(t.Rows)
	if q.skip("where") {
		for {
			rows = t.filter(q, rows)
			if !q.skip("and") {
				break
			}
		}
	}
	var order []int
	if q.skip("order", "by") {
		for {
			order = append(order, t.column(q, strings.ToLower(q.next())))
			q.skip("asc")
			if !q.skip(",") {
				break
			}
		}
	}
	if err := q.end(); err != nil {
		return Table{}, err
	}
	slices.SortStableFunc(rows, func(a, b []any) int {
		for _, c := range order {
			if n := compare(a[c], b[c]); n != 0 {
				return n
			}
		}
		return 0
	})
	result := Table{Columns: names}
	for _, row := range rows {
		var cells []any
		for _, c := range columns {
			cells = append(cells, row[c])
		}
		result.Rows = append(result.Rows, cells)
	}
	return result, nil
}

// filter reads one condition and returns the rows that meet it: column = value, or column IN (values), or lists of both.
func (t Table) filter(q *reader, rows [][]any) [][]any {
	if !q.skip("(") {
		c := t.column(q, strings.ToLower(q.next()))
		meets := q.condition()
		return slices.DeleteFunc(rows, func(row []any) bool { return row[c] == nil || !meets(fmt.Sprint(row[c])) })
	}
	var columns []int
	for more := true; more; more = q.skip(",") {
		columns = append(columns, t.column(q, strings.ToLower(q.next())))
	}
	q.want(")")
	q.want("in")
	q.want("(")
	var lists [][]string
	for more := true; more; more = q.skip(",") {
		lists = append(lists, q.list())
	}
	q.want(")")
	return slices.DeleteFunc(rows, func(row []any) bool {
		return !slices.ContainsFunc(lists, func(list []string) bool {
			for i, c := range columns {
				if i >= len(list) || !strings.EqualFold(fmt.Sprint(row[c]), list[i]) {
					return false
				}
			}
			return true
		})
	})
}

func (t Table) column(q *reader, name string) int {
	_, last, qualified := strings.Cut(name, ".")
	if qualified {
		name = last
	}
	i := slices.IndexFunc(t.Columns, func(c string) bool { return strings.EqualFold(c, name) })
	if i < 0 {
		q.fail("no column %s", name)
		return 0
	}
	return i
}

func compare(a, b any) int {
	m, errM := strconv.Atoi(fmt.Sprint(a))
	n, errN := strconv.Atoi(fmt.Sprint(b))
	if errM == nil && errN == nil {
		return cmp.Compare(m, n)
	}
	return cmp.Compare(strings.ToLower(fmt.Sprint(a)), strings.ToLower(fmt.Sprint(b)))
}

// A reader takes the words of a statement one after the other. It keeps its first error.
type reader struct {
	tokens []string
	args   []any
	err    error
}

func tokenize(query string) []string {
	return regexp.MustCompile("'(?:[^'\\\\]|''|\\\\.)*'|[@\\w.`$]+|[^\\s;]").FindAllString(strings.ReplaceAll(query, "`", ""), -1)
}

func (q *reader) fail(format string, args ...any) {
	if q.err == nil {
		q.err = fmt.Errorf("recorded: "+format, args...)
	}
}

func (q *reader) next() string {
	if len(q.tokens) == 0 {
		q.fail("the statement ends too early")
		return ""
	}
	t := q.tokens[0]
	q.tokens = q.tokens[1:]
	return t
}

// skip skips words if they are the next ones.
func (q *reader) skip(words ...string) bool {
	if len(q.tokens) < len(words) {
		return false
	}
	for i, w := range words {
		if !strings.EqualFold(q.tokens[i], w) {
			return false
		}
	}
	q.tokens = q.tokens[len(words):]
	return true
}

// skipAlias reports whether the next word is a name without AS.
func (q *reader) skipAlias() bool {
	return len(q.tokens) > 0 && !slices.Contains([]string{",", "from", "where", "order", ")"}, strings.ToLower(q.tokens[0]))
}

func (q *reader) want(word string) {
	if !q.skip(word) {
		q.fail("no %q before %q", word, q.tokens)
	}
}

// value reads a text, a number or an argument.
func (q *reader) value() string {
	t := q.next()
	if t == "?" {
		if len(q.args) == 0 {
			q.fail("an argument is missing")
			return ""
		}
		arg := q.args[0]
		q.args = q.args[1:]
		switch arg := arg.(type) {
		case mysql.TypedBytes:
			return string(arg.Bytes)
		case []byte:
			return string(arg)
		default:
			return fmt.Sprint(arg)
		}
	}
	if len(t) > 1 && t[0] == '\'' {
		return strings.NewReplacer("''", "'", `\\`, `\`, `\'`, "'", `\_`, `\_`).Replace(t[1 : len(t)-1])
	}
	return t
}

func (q *reader) list() []string {
	q.want("(")
	var values []string
	for more := true; more; more = q.skip(",") {
		values = append(values, q.value())
	}
	q.want(")")
	return values
}

// condition reads = value, or IN (values).
func (q *reader) condition() func(string) bool {
	var values []string
	switch {
	case q.skip("="):
		values = []string{q.value()}
	case q.skip("in"):
		values = q.list()
	default:
		q.fail("no condition before %q", q.tokens)
	}
	return func(s string) bool {
		return slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, s) })
	}
}

func (q *reader) end() error {
	if q.err == nil && len(q.tokens) > 0 {
		q.fail("no answer to a statement with %q", q.tokens)
	}
	return q.err
}
