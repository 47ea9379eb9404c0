//go:build unix

package livetest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	driver "github.com/go-sql-driver/mysql"
)

// bare reads the changes of a database from a binlog. It shares no code with the source.
type bare struct {
	database    string
	unique      map[string][][]string // the unique keys of each table, as of the event at hand
	changes     []change
	transaction string
	rows        int // of it
}

// readBare returns the changes from behind the given GTIDs to the first row of the table "end" in another database.
func readBare(ctx context.Context, dsn, database, after, end string) ([]change, error) {
	c, err := driver.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 1<<31 + rand.Uint32N(1<<30), Flavor: gomysql.MariaDBFlavor, Host: host, Port: uint16(n),
		User: c.User, Password: c.Passwd, DisableRetrySync: true, Logger: slog.New(slog.DiscardHandler),
	})
	defer syncer.Close()
	gtids, err := gomysql.ParseMariadbGTIDSet(after)
	if err != nil {
		return nil, err
	}
	stream, err := syncer.StartSyncGTID(gtids)
	if err != nil {
		return nil, err
	}
	b := &bare{database: database, unique: uniqueKeys()}
	for {
		e, err := stream.GetEvent(ctx)
		if err != nil {
			return nil, err
		}
		switch e := e.Event.(type) {
		case *replication.MariadbGTIDEvent:
			b.transaction, b.rows = e.GTID.String(), 0
		case *replication.RowsEvent:
			switch string(e.Table.Schema) {
			case end:
				if string(e.Table.Table) == "end" {
					return b.changes, nil
				}
			case database:
				b.take(e)
			}
		case *replication.QueryEvent:
			if string(e.Schema) == database {
				b.query(string(e.Query))
			}
		}
	}
}

// take takes the rows of an event.
func (b *bare) take(e *replication.RowsEvent) {
	columns, rows := e.Table.ColumnNameString(), e.Rows
	for len(rows) > 0 {
		var before, after []any
		kind := ""
		switch e.Type() {
		case replication.EnumRowsEventTypeInsert:
			kind, after, rows = "insert", rows[0], rows[1:]
		case replication.EnumRowsEventTypeDelete:
			kind, before, rows = "delete", rows[0], rows[1:]
		case replication.EnumRowsEventTypeUpdate:
			kind, before, after, rows = "update", rows[0], rows[1], rows[2:]
		case replication.EnumRowsEventTypeUnknown:
			panic("livetest: rows of an unknown kind")
		}
		c := change{before: imageOf(columns, before), after: imageOf(columns, after)}
		c.Stream = b.database + "." + string(e.Table.Table)
		c.Key = nameOfRow(b.transaction, b.rows, kind, columns, before, after)
		c.lanes = b.lanes(string(e.Table.Table), c.before, c.after)
		b.changes = append(b.changes, c)
		b.rows++
	}
}

func imageOf(columns []string, values []any) image {
	m := image{}
	for i, v := range values {
		if v != nil {
			m[columns[i]] = fmt.Sprint(v)
		}
	}
	return m
}

// lanes returns the unique values of a row before and after its change. Texts are compared without case. The rows of a table
// without keys share one lane.
func (b *bare) lanes(table string, images ...image) []string {
	lanes := map[string]bool{}
	for _, m := range images {
	keys:
		for _, key := range b.unique[table] {
			lane := strings.Join(key, ",") + "="
			for _, column := range key {
				v, found := m[column]
				if !found { // NULL, or there is no image
					continue keys
				}
				lane += strings.ToLower(v) + ","
			}
			lanes[lane] = true
		}
	}
	if len(b.unique[table]) == 0 {
		lanes["*"] = true
	}
	return slices.Sorted(maps.Keys(lanes))
}

var statementTable = regexp.MustCompile("^(?:ALTER|CREATE|DROP|TRUNCATE) TABLE (?:IF EXISTS )?`?([a-z]+)`?")

// query takes a statement, if it changes a table. Others are those of transactions and savepoints.
func (b *bare) query(text string) {
	if text == rename {
		for _, r := range renamed {
			b.add(r.table, text)
		}
		return
	}
	found := statementTable.FindStringSubmatch(text)
	if found == nil {
		return
	}
	b.add(found[1], text)
	if keys := changedKeys[text]; keys != nil {
		b.unique[found[1]] = keys
	}
}

// add adds a statement that changes a table.
func (b *bare) add(table, text string) {
	c := change{statement: text}
	c.Stream, c.Key = b.database+"."+table, nameOfStatement(b.transaction, text)
	b.changes = append(b.changes, c)
}
