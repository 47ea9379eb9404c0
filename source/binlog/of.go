package binlog

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand"
)

// ErrStatement is returned by RowOf if the message is a statement. Ask DDLOf first.
var ErrStatement = errors.New("the message is a statement, not a row: ask DDLOf first")

// RowOf returns the row of a message from a binlog source. It also reads the JSON form from the Value of a message that has
// been in a store of diverted keys, a dead letter or another log.
//
// The row is immutable, and stays valid after the handler returns. The error is [keystrand.Permanent], because a retry would
// read the same bytes. It wraps ErrStatement if the message is a statement. Like a [keystrand.Decoder], RowOf must not be called
// for the same *Message from two goroutines at the same time.
func RowOf(m *keystrand.Message) (*Row, error) {
	c, err := changeOf(m)
	if err != nil {
		return nil, err
	}
	if c.row == nil {
		return nil, keystrand.Permanent(fmt.Errorf("binlog: row of %s/%d@%d: %w", m.Stream, m.Partition, m.Offset, ErrStatement))
	}
	return c.row, nil
}

// DDLOf returns the statement of a message from a binlog source, and nil if the message is a row. Otherwise it is like RowOf.
func DDLOf(m *keystrand.Message) (*DDL, error) {
	c, err := changeOf(m)
	return c.ddl, err
}

// change is a row or a statement.
type change struct {
	row *Row
	ddl *DDL
}

func changeOf(m *keystrand.Message) (change, error) {
	switch n := m.Native.(type) {
	case *Row:
		return change{row: n}, nil
	case *DDL:
		return change{ddl: n}, nil
	}
	if m.Value == nil {
		return change{}, keystrand.Permanent(fmt.Errorf("binlog: %s/%d@%d has neither a row nor a value: it is not from a binlog source",
			m.Stream, m.Partition, m.Offset))
	}
	return decoder.Decode(m)
}

//nolint:gochecknoglobals // immutable
var decoder = keystrand.NewDecoder[change](func(data []byte, v any) error {
	c, err := decode(data)
	if into, ok := v.(*change); ok { // always
		*into = c
	}
	return err
})
