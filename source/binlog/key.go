package binlog

import "github.com/keystrand/keystrand"

// Key returns the lanes of a message from a binlog source. It is a [keystrand.KeyFunc], and the default of such sources.
//
//   - A row has a lane for each unique key of its table, before and after the change. So two changes of one row are in order, and
//     so are two rows that hold the same unique value one after the other.
//   - A key with a NULL has no lane, because it is not unique. A row without any lane shares one with the table's other rows
//     of that kind, and so do all rows of a table without keys.
//   - A statement runs alone.
//
// Values that the database holds for equal have the same lane. Different values may share one too.
//
// Key allocates nothing for a row that Seal has seen. It decodes a message that has only a Value.
func Key(m *keystrand.Message) (keystrand.Key, error) {
	c, err := changeOf(m)
	switch {
	case err != nil:
		return keystrand.Key{}, err
	case c.row == nil:
		return keystrand.Barrier(), nil
	case c.row.sealed:
		return c.row.key, nil
	}
	row := []Row{*c.row} // a copy: rows are immutable
	Seal(row, false)
	return row[0].key, nil
}
