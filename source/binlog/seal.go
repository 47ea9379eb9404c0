package binlog

import (
	"bytes"
	"sync"

	"github.com/keystrand/keystrand"
)

// Seal computes the keys and the sizes of rows, so that Key and Row.Size need no work and no memory later. A source calls it once
// for the rows of an event, before it hands them out; then the rows must not change any more. It may be called from any
// number of goroutines, for different rows.
//
// If alone is true, the first row runs alone, like a statement. A source needs that where the definition of the table that
// comes with the rows is another than the one before, but not because of a statement at that place. Rows before and after it may
// have lanes of different keys, and so no order otherwise.
func Seal(rows []Row, alone bool) {
	if len(rows) == 0 {
		return
	}
	s, _ := sealers.Get().(*sealer)
	if s == nil {
		s = &sealer{}
	}
	for i := range rows {
		s.add(&rows[i])
	}
	s.finish(rows)
	if alone {
		rows[0].key = keystrand.Barrier()
	}
	s.reset()
	sealers.Put(s)
}

//nolint:gochecknoglobals // memory to reuse
var sealers sync.Pool // of *sealer

// sealer collects the lanes of rows. The names of all lanes are parts of one string, so that an event of many rows costs two
// allocations.
type sealer struct {
	text  []byte // the names, one after the other
	ends  []int  // of each name in text
	lanes []int  // of each row: the number of its lanes, or barrier
	many  int    // lanes of rows that have more than one
}

const barrier = -1

// add computes the lanes of a row.
func (s *sealer) add(r *Row) {
	r.size, r.sealed = r.measure(), true
	l := &r.Table.prepare().lanes
	first := len(s.ends)
	ok := r.check() == nil
	if ok && len(l.keys) > 0 {
		ok = (r.Before == nil || s.image(l, r.Before, nil, first)) && (r.After == nil || s.image(l, r.After, r.Before, first))
	}
	n := len(s.ends) - first
	switch {
	case !ok:
		s.cut(first)
		n = barrier
	case n > 1:
		s.many += n
	}
	s.lanes = append(s.lanes, n)
}

// image adds the lanes of the row before or after its change, if they are not among those from first. The lanes of before, which may
// be nil, are there already. It returns false if the lanes are not known.
func (s *sealer) image(l *lanes, image, before []any, first int) bool {
	unnamed := true
	for i := range l.keys {
		k := &l.keys[i]
		if before != nil && k.same(before, image) {
			unnamed = false
			continue
		}
		start := len(s.text)
		var null, ok bool
		s.text, null, ok = k.append(s.text, image)
		switch {
		case !ok:
			return false
		case null:
			s.text = s.text[:start]
		default:
			unnamed = false
			s.end(start, first)
		}
	}
	if unnamed {
		start := len(s.text)
		s.text = append(s.text, keyless...)
		s.end(start, first)
	}
	return true
}

// end ends the name that begins at start, or removes it if the row has that lane already.
func (s *sealer) end(start, first int) {
	for i := first; i < len(s.ends); i++ {
		if bytes.Equal(s.text[s.start(i):s.ends[i]], s.text[start:]) {
			s.text = s.text[:start]
			return
		}
	}
	s.ends = append(s.ends, len(s.text))
}

// start returns where name i begins.
func (s *sealer) start(i int) int {
	if i == 0 {
		return 0
	}
	return s.ends[i-1]
}

// cut removes the names from first.
func (s *sealer) cut(first int) {
	s.ends = s.ends[:first]
	s.text = s.text[:s.start(first)]
}

// finish gives rows their keys.
func (s *sealer) finish(rows []Row) {
	text := string(s.text)
	var names []string
	if s.many > 0 {
		names = make([]string, 0, s.many)
	}
	next := 0
	for i := range rows {
		n := s.lanes[i]
		switch n {
		case barrier:
			rows[i].key = keystrand.Barrier()
			continue
		case 0:
			rows[i].key = keystrand.KeyOfString(keyless)
			continue
		case 1:
			rows[i].key = keystrand.KeyOfString(text[s.start(next):s.ends[next]])
		default:
			from := len(names)
			for j := next; j < next+n; j++ {
				names = append(names, text[s.start(j):s.ends[j]])
			}
			rows[i].key = keystrand.KeysOf(names[from:len(names):len(names)]...)
		}
		next += n
	}
}

// reset empties the sealer, and gives back what only a large event has needed.
func (s *sealer) reset() {
	const most = 64 << 10
	if cap(s.text) > most || cap(s.lanes) > most {
		*s = sealer{}
		return
	}
	s.text, s.ends, s.lanes, s.many = s.text[:0], s.ends[:0], s.lanes[:0], 0
}
