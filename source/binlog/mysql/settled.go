package mysql

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// settled has the last transactions that tables have settled, perhaps on another server, and that the reader has not passed, by
// domain in ascending order. The reader checks that it meets each of them. A replica that became the primary without them writes
// others with the same sequence numbers, and those would be skipped.
type settled map[uint32][]settledGTID

type settledGTID struct {
	gomysql.MariadbGTID
	table string
}

// add adds the transactions of a place that are at or behind the place where the reader begins.
func (s settled) add(table string, p, begin mariadbPlace) {
	for _, g := range p {
		if i, found := begin.find(g.DomainID); found && begin[i].SequenceNumber > g.SequenceNumber {
			continue
		}
		list := s[g.DomainID]
		i, _ := slices.BinarySearchFunc(list, g.SequenceNumber, func(a settledGTID, n uint64) int { return cmp.Compare(a.SequenceNumber, n) })
		s[g.DomainID] = slices.Insert(list, i, settledGTID{g, table})
	}
}

// pass returns those that are not in the log, of which g is the next transaction.
func (s settled) pass(g gomysql.MariadbGTID) (missing []settledGTID) {
	list := s[g.DomainID]
	for len(list) > 0 && list[0].SequenceNumber <= g.SequenceNumber {
		if list[0].MariadbGTID != g {
			missing = append(missing, list[0])
		}
		list = list[1:]
		s[g.DomainID] = list
	}
	return missing
}

// expect tells of the tables whose progress is at a place that this server does not have, as far as it is known now, and has the
// reader look for the rest.
func (r *reader) expect(ctx context.Context, tables map[string]demux.Known) error {
	var executed place // of a MySQL server: all its transactions
	for _, full := range slices.Sorted(maps.Keys(tables)) {
		for _, at := range []demux.Place{tables[full].Settled, tables[full].Within} {
			if at == "" {
				continue
			}
			p, err := parsePlace(at)
			if err != nil {
				return err
			}
			switch p := p.(type) {
			case mariadbPlace:
				begin, _ := r.after.(mariadbPlace)
				r.settled.add(full, p, begin)
			case mysqlPlace:
				if executed == nil {
					if executed, err = r.log.server.end(ctx, r.facts); err != nil {
						return err
					}
				}
				if has, err := executed.reached(p); err != nil {
					return err
				} else if !has {
					r.gone(full, fmt.Errorf("its progress is at %v, and the server has only %v", p, executed))
				}
			}
		}
	}
	begin, _ := r.after.(mariadbPlace)
	for _, g := range begin {
		r.passes(g)
	}
	return nil
}

// passes tells of the tables whose progress is at a transaction that the log does not have in front of g.
func (r *reader) passes(g gomysql.MariadbGTID) {
	for _, m := range r.settled.pass(g) {
		r.gone(m.table, fmt.Errorf("its progress is at %v, and the log has %v in its place", mariadbPlace{m.MariadbGTID}, mariadbPlace{g}))
	}
}

// gone stops a table whose progress is at a place that this server does not have.
func (r *reader) gone(full string, why error) {
	r.push(demux.Event{Kind: demux.Fault, Table: full, Place: r.alone, Err: fmt.Errorf("server %s: table %s: %w: the server became the "+
		"primary without the last transactions of the one before, or is behind it: read from a server that has them, or begin a new copy: %w",
		r.log.addr, full, why, demux.ErrGone)})
}
