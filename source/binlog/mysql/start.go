package mysql

import (
	"errors"
	"fmt"
	"strconv"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// Start is where a source without progress begins. Its zero value is [End].
type Start struct {
	kind  startKind
	gtids string
	file  string
	pos   uint64
}

type startKind uint8

const (
	startEnd startKind = iota
	startOldest
	startGTIDs
	startFile
)

// End begins behind the last transaction of the log as it is at the first Accept.
func End() Start { return Start{} }

// Oldest begins at the first transaction that the server still has. Rows that are older than the log are not read.
//
// Keys of a table that no longer exist, other than its primary key, are not known and order no rows.
func Oldest() Start { return Start{kind: startOldest} }

// GTIDs begins behind these transactions: "0-1-100" of MariaDB, or "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-100" of MySQL.
func GTIDs(set string) Start { return Start{kind: startGTIDs, gtids: set} }

// File begins at a position in a file of the log, which must be the end of a transaction. It needs Config.FilePosition.
func File(name string, position uint64) Start {
	return Start{kind: startFile, file: name, pos: position}
}

// String returns the name of the start and its position.
func (s Start) String() string {
	switch s.kind {
	case startEnd:
		return "end"
	case startOldest:
		return "oldest"
	case startGTIDs:
		return "GTIDs " + strconv.Quote(s.gtids)
	case startFile:
		return fmt.Sprintf("file %q position %d", s.file, s.pos)
	}
	return "unknown start"
}

func (s Start) validate(files bool) error {
	switch s.kind {
	case startGTIDs:
		if files {
			return fmt.Errorf("mysql: Start is %v, and FilePosition is set: choose one", s)
		}
		_, err1 := parseMariadbPlace(s.gtids)
		_, err2 := parseMysqlPlace(s.gtids)
		if err1 != nil && err2 != nil {
			return fmt.Errorf("mysql: Start is %v, which no server has: %w", s, errors.Join(err1, err2))
		}
	case startFile:
		if !files {
			return fmt.Errorf("mysql: Start is %v, and FilePosition is not set: choose one", s)
		}
		if !numbered(s.file) || s.pos < 4 {
			return fmt.Errorf("mysql: Start is %v: a file has a number, as in bin.000001, and begins at position 4", s)
		}
	case startEnd, startOldest:
	}
	return nil
}

// given returns the place of a start that names one.
func (s Start) given(f facts) (place, error) {
	switch {
	case s.kind == startFile:
		return filePlace{f.id(), s.file, s.pos}, nil
	case f.flavor() == gomysql.MariaDBFlavor:
		return parseMariadbPlace(s.gtids)
	default:
		return parseMysqlPlace(s.gtids)
	}
}
