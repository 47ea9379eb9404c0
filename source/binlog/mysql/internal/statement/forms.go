package statement

import "slices"

// statement reads a whole statement. Words that begin no known form make it Unknown.
func (r *reader) statement() Statement {
	first := r.next()
	switch {
	case first.is("BEGIN"), first.is("START") && r.accept("TRANSACTION"):
		r.end()
		return Statement{Kind: Begin}
	case first.is("COMMIT"):
		return Statement{Kind: Commit}
	case first.is("ROLLBACK"):
		r.accept("WORK")
		if r.accept("TO") {
			return Statement{Kind: RollbackTo}
		}
		return Statement{Kind: Rollback}
	case first.is("SAVEPOINT"), first.is("RELEASE") && r.accept("SAVEPOINT"):
		return Statement{Kind: Savepoint}
	case first.is("XA"):
		return r.xa()
	case first.is("CREATE"):
		return r.create()
	case first.is("ALTER"):
		return r.alter()
	case first.is("DROP"):
		return r.drop()
	case first.is("TRUNCATE"):
		r.accept("TABLE")
		s := Statement{Kind: Definition, Tables: []string{r.table()}}
		r.end("WAIT", "NOWAIT")
		return s
	case first.is("RENAME"):
		return r.rename()
	case first.is("INSERT"), first.is("REPLACE"), first.is("UPDATE"), first.is("DELETE"), first.is("LOAD"):
		return r.change(first)
	case first.is("SET") && r.accept("STATEMENT"): // MariaDB: settings for one statement
		r.skipTo("FOR")
		return r.statement()
	case first.is("ANALYZE"), first.is("OPTIMIZE"), first.is("REPAIR"), first.is("CHECK"):
		r.acceptAny("NO_WRITE_TO_BINLOG", "LOCAL")
		if r.accept("TABLE") || r.accept("TABLES") { // MariaDB's ANALYZE runs any statement, too
			return Statement{Kind: Other}
		}
	case first.is("FLUSH"), first.is("GRANT"), first.is("REVOKE"), first.is("SET"), first.is("INSTALL"), first.is("UNINSTALL"):
		return Statement{Kind: Other}
	}
	return Statement{Kind: Unknown}
}

func (r *reader) xa() Statement {
	switch {
	case r.accept("START"), r.accept("BEGIN"):
		return Statement{Kind: XAStart, XID: r.rest()}
	case r.accept("END"), r.accept("PREPARE"):
		return Statement{Kind: XAEnd}
	case r.accept("COMMIT"), r.accept("ROLLBACK"):
		return Statement{Kind: XAOutcome}
	}
	return Statement{Kind: Unknown}
}

func (r *reader) create() Statement {
	r.accept("OR", "REPLACE")
	switch {
	case r.accept("TEMPORARY", "TABLE"), r.accept("TEMPORARY", "SEQUENCE"):
		return Statement{Kind: Other}
	case r.accept("TABLE"), r.accept("SEQUENCE"): // MariaDB logs rows of a sequence as of a table
		r.accept("IF", "NOT", "EXISTS")
		s := Statement{Kind: Definition, Tables: []string{r.table()}}
		n := len(r.tokens)
		s.Open = n >= 2 && r.tokens[n-2].is("START") && r.tokens[n-1].is("TRANSACTION")
		return s
	}
	r.acceptAny("UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR", "ONLINE", "OFFLINE")
	if r.accept("INDEX") {
		r.accept("IF", "NOT", "EXISTS")
		return r.index()
	}
	return r.noTable()
}

// index reads the statement from the index's name on.
func (r *reader) index() Statement {
	r.identifier()
	if r.accept("USING") {
		r.identifier()
	}
	r.expect("ON")
	return Statement{Kind: Definition, Tables: []string{r.table()}}
}

// noTable reads the kind of object of a CREATE, ALTER or DROP that is neither of a table nor of an index.
func (r *reader) noTable() Statement {
	r.attributes()
	t := r.next()
	if t.is("AGGREGATE") {
		t = r.next()
	}
	if slices.ContainsFunc([]string{
		"VIEW", "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "USER", "ROLE", "SERVER", "PACKAGE", "DATABASE", "SCHEMA",
		"TABLESPACE", "UNDO", "LOGFILE", "RESOURCE", "REFERENCE", "INSTANCE", "CATALOG",
	}, t.is) {
		return Statement{Kind: Other}
	}
	return Statement{Kind: Unknown}
}

// attributes takes what may stand before VIEW, PROCEDURE, TRIGGER and so on.
func (r *reader) attributes() {
	for {
		switch {
		case r.accept("ALGORITHM"):
			r.acceptMark("=")
			r.identifier()
		case r.accept("SQL", "SECURITY"):
			r.identifier()
		case r.accept("DEFINER"):
			r.acceptMark("=")
			r.next()
			if r.acceptMark("(") {
				r.acceptMark(")")
			}
			if r.acceptMark("@") {
				r.next()
				for r.acceptMark(".") || r.acceptMark("-") { // a host without quotes
					r.next()
				}
			}
		default:
			return
		}
	}
}

func (r *reader) alter() Statement {
	r.acceptAny("ONLINE", "OFFLINE", "IGNORE")
	if !r.accept("TABLE") && !r.accept("SEQUENCE") {
		return r.noTable()
	}
	r.accept("IF", "EXISTS")
	s := Statement{Kind: Definition, Tables: []string{r.table()}}
	depth := 0
	for len(r.tokens) > 0 && !r.failed {
		switch t := r.next(); {
		case t.mark("("):
			depth++
		case t.mark(")"):
			depth--
		case depth > 0:
		case t.is("RENAME"):
			if r.accept("COLUMN") || r.accept("INDEX") || r.accept("KEY") {
				continue
			}
			if !r.accept("TO") && !r.accept("AS") {
				r.acceptMark("=")
			}
			s.Tables = append(s.Tables, r.table())
		case t.is("TABLE"): // EXCHANGE PARTITION p WITH TABLE t, CONVERT TABLE t TO PARTITION p, CONVERT PARTITION p TO TABLE t
			s.Tables = append(s.Tables, r.table())
		}
	}
	return s
}

func (r *reader) drop() Statement {
	switch {
	case r.accept("TEMPORARY"):
		return Statement{Kind: Other}
	case r.accept("TABLE"), r.accept("TABLES"), r.accept("SEQUENCE"):
		r.accept("IF", "EXISTS")
		s := Statement{Kind: Definition, Tables: r.tables()}
		r.end("RESTRICT", "CASCADE", "WAIT", "NOWAIT")
		return s
	case r.accept("DATABASE"), r.accept("SCHEMA"):
		r.accept("IF", "EXISTS")
		s := Statement{Kind: Definition, Tables: []string{r.qualified(r.identifier(), "*")}}
		r.end()
		return s
	}
	r.acceptAny("ONLINE", "OFFLINE")
	if r.accept("INDEX") {
		r.accept("IF", "EXISTS")
		return r.index()
	}
	return r.noTable()
}

func (r *reader) rename() Statement {
	if r.accept("USER") {
		return Statement{Kind: Other}
	}
	if !r.accept("TABLE") {
		r.expect("TABLES")
	}
	r.accept("IF", "EXISTS")
	s := Statement{Kind: Definition}
	for {
		s.Tables = append(s.Tables, r.table())
		if r.accept("WAIT") {
			r.next()
		}
		r.accept("NOWAIT")
		r.expect("TO")
		s.Tables = append(s.Tables, r.table())
		if !r.acceptMark(",") {
			r.end()
			return s
		}
	}
}

// change reads a statement that changes rows. Only those of one table are read.
func (r *reader) change(first token) Statement {
	s := Statement{Kind: Change}
	r.acceptAny("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "QUICK")
	switch {
	case first.is("LOAD"):
		r.skipTo("INTO")
		r.expect("TABLE")
		s.Tables = []string{r.table()}
	case first.is("INSERT"), first.is("REPLACE"):
		r.accept("INTO")
		s.Tables = []string{r.table()}
	case first.is("DELETE"):
		r.expect("FROM")
		s.Tables = []string{r.table()}
		r.alias("WHERE", "ORDER", "LIMIT", "RETURNING")
		r.end("WHERE", "ORDER", "LIMIT", "RETURNING")
	default:
		s.Tables = []string{r.table()}
		r.alias("SET")
		r.expect("SET")
	}
	return s
}

// alias takes another name of a table, unless one of these keywords comes next.
func (r *reader) alias(keywords ...string) {
	if r.accept("AS") {
		r.identifier()
		return
	}
	t := r.peek(0)
	if slices.ContainsFunc(keywords, t.is) {
		return
	}
	if t.kind == word || t.kind == name {
		r.next()
	}
}
