package mysql

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// A place is the end of a transaction: a set of GTIDs, or a position in a file. Places are immutable.
type place interface {
	// text is the place in a form that parsePlace reads.
	text() demux.Place
	// reached reports whether the place is at or behind another one.
	reached(want place) (bool, error)
	// lowest returns a place that both have reached.
	lowest(other place) (place, error)
	// String is the place in the words of messages.
	String() string
}

const (
	mariadbForm = "mariadb:"
	mysqlForm   = "mysql:"
	fileForm    = "file:"
)

func parsePlace(p demux.Place) (place, error) {
	s := string(p)
	switch {
	case strings.HasPrefix(s, mariadbForm):
		return parseMariadbPlace(s[len(mariadbForm):])
	case strings.HasPrefix(s, mysqlForm):
		return parseMysqlPlace(s[len(mysqlForm):])
	case strings.HasPrefix(s, fileForm):
		return parseFilePlace(s[len(fileForm):])
	}
	return nil, fmt.Errorf("place %q is of no known form", s)
}

// mariadbPlace has the last GTID of every domain, in the order of the domains. Within a domain, a server with
// gtid_strict_mode writes ascending numbers only.
type mariadbPlace []gomysql.MariadbGTID

func parseMariadbPlace(s string) (place, error) {
	var p mariadbPlace
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		g, err := gomysql.ParseMariadbGTID(part)
		if err != nil {
			return nil, fmt.Errorf("GTID position %q: %w", s, err)
		}
		i, found := p.find(g.DomainID)
		if found {
			return nil, fmt.Errorf("GTID position %q: domain %d occurs twice", s, g.DomainID)
		}
		p = slices.Insert(p, i, *g)
	}
	return p, nil
}

func (p mariadbPlace) find(domain uint32) (int, bool) {
	return slices.BinarySearchFunc(p, domain, func(g gomysql.MariadbGTID, d uint32) int { return cmp.Compare(g.DomainID, d) })
}

// with returns the place behind a transaction.
func (p mariadbPlace) with(g gomysql.MariadbGTID) mariadbPlace {
	next := slices.Clone(p)
	if i, found := next.find(g.DomainID); found {
		next[i] = g
	} else {
		next = slices.Insert(next, i, g)
	}
	return next
}

func (p mariadbPlace) set() gomysql.GTIDSet {
	set := &gomysql.MariadbGTIDSet{Sets: make(map[uint32]*gomysql.MariadbGTID, len(p))}
	for _, g := range p {
		set.Sets[g.DomainID] = &g
	}
	return set
}

func (p mariadbPlace) text() demux.Place {
	b := make([]byte, 0, len(mariadbForm)+20*len(p))
	b = append(b, mariadbForm...)
	for i, g := range p {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMariadbGTID(b, g)
	}
	return demux.Place(b)
}

func (p mariadbPlace) String() string { return gtids(string(p.text()[len(mariadbForm):])) }

func gtids(set string) string {
	if set == "" {
		return "its first transaction"
	}
	return "GTID " + set
}

func appendMariadbGTID(b []byte, g gomysql.MariadbGTID) []byte {
	b = strconv.AppendUint(b, uint64(g.DomainID), 10)
	b = strconv.AppendUint(append(b, '-'), uint64(g.ServerID), 10)
	return strconv.AppendUint(append(b, '-'), g.SequenceNumber, 10)
}

func (p mariadbPlace) reached(want place) (bool, error) {
	w, ok := want.(mariadbPlace)
	if !ok {
		return false, differentForms(p, want)
	}
	for _, g := range w {
		i, found := p.find(g.DomainID)
		if !found || p[i].SequenceNumber < g.SequenceNumber {
			return false, nil
		}
		if p[i].SequenceNumber == g.SequenceNumber && p[i] != g { // of a server that has gone another way
			return false, nil
		}
	}
	return true, nil
}

func (p mariadbPlace) lowest(other place) (place, error) {
	o, ok := other.(mariadbPlace)
	if !ok {
		return nil, differentForms(p, other)
	}
	var low mariadbPlace
	for _, g := range p {
		if i, found := o.find(g.DomainID); found {
			if o[i].SequenceNumber < g.SequenceNumber {
				g = o[i]
			}
			low = append(low, g)
		}
	}
	return low, nil
}

// mysqlPlace has every transaction up to the place.
type mysqlPlace struct{ gtids *gomysql.MysqlGTIDSet }

func parseMysqlPlace(s string) (place, error) {
	set, err := gomysql.ParseMysqlGTIDSet(strings.Join(strings.Fields(s), ""))
	if err != nil {
		return nil, fmt.Errorf("GTID set %q: %w", s, err)
	}
	gtids, _ := set.(*gomysql.MysqlGTIDSet)
	return mysqlPlace{gtids}, nil
}

func (p mysqlPlace) text() demux.Place { return demux.Place(mysqlForm + p.gtids.String()) }

func (p mysqlPlace) String() string { return gtids(p.gtids.String()) }

func (p mysqlPlace) reached(want place) (bool, error) {
	w, ok := want.(mysqlPlace)
	if !ok {
		return false, differentForms(p, want)
	}
	return p.gtids.Contain(w.gtids), nil
}

func (p mysqlPlace) lowest(other place) (place, error) {
	o, ok := other.(mysqlPlace)
	if !ok {
		return nil, differentForms(p, other)
	}
	low := gomysql.NewMysqlGTIDSet()
	for sid, tags := range *p.gtids {
		for tag, intervals := range tags {
			both := intersect(intervals, (*o.gtids)[sid][tag])
			if len(both) == 0 {
				continue
			}
			if low[sid] == nil {
				low[sid] = make(map[gomysql.Tag]gomysql.IntervalSlice)
			}
			low[sid][tag] = both
		}
	}
	return mysqlPlace{&low}, nil
}

// intersect returns what two normalized lists have in common.
func intersect(a, b gomysql.IntervalSlice) gomysql.IntervalSlice {
	var both gomysql.IntervalSlice
	for len(a) > 0 && len(b) > 0 {
		if in := (gomysql.Interval{Start: max(a[0].Start, b[0].Start), Stop: min(a[0].Stop, b[0].Stop)}); in.Start < in.Stop {
			both = append(both, in)
		}
		if a[0].Stop < b[0].Stop {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}

// filePlace is a position in a file of one server. It means nothing on another server.
type filePlace struct {
	server string
	file   string
	pos    uint64
}

func parseFilePlace(s string) (place, error) {
	server, rest, ok := strings.Cut(s, " ")
	file, pos, ok2 := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(pos, 10, 64)
	if !ok || !ok2 || !numbered(file) || err != nil {
		return nil, fmt.Errorf("place %q is not a server, a file and a position", s)
	}
	return filePlace{server, file, n}, nil
}

// numbered reports whether a name is one of a log file: "name.000001".
func numbered(file string) bool {
	dot := strings.LastIndexByte(file, '.')
	_, err := strconv.Atoi(file[dot+1:])
	return dot > 0 && err == nil
}

func (p filePlace) text() demux.Place {
	return demux.Place(fileForm + p.server + " " + p.file + " " + strconv.FormatUint(p.pos, 10))
}

func (p filePlace) String() string { return fmt.Sprintf("%s position %d", p.file, p.pos) }

func (p filePlace) compare(other place) (int, error) {
	o, ok := other.(filePlace)
	if !ok {
		return 0, differentForms(p, other)
	}
	if p.server != o.server {
		return 0, fmt.Errorf("%v is a position on server %q, and %v on %q: follow a new server by GTID, or %s",
			p, p.server, o, o.server, anew)
	}
	return cmp.Or(gomysql.CompareBinlogFileName(p.file, o.file), cmp.Compare(p.pos, o.pos)), nil
}

func (p filePlace) reached(want place) (bool, error) {
	c, err := p.compare(want)
	return c >= 0, err
}

func (p filePlace) lowest(other place) (place, error) {
	c, err := p.compare(other)
	if c > 0 {
		return other, err
	}
	return p, err
}

func differentForms(a, b place) error {
	return fmt.Errorf("places %v and %v cannot be compared: keep FilePosition and the kind of server, or %s", a, b, anew)
}
