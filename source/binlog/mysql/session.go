package mysql

import (
	"encoding/binary"

	"github.com/keystrand/keystrand/source/binlog/mysql/internal/statement"
)

// session is what a statement depends on.
type session struct {
	mode      statement.Mode
	collation uint64 // of the text; 0: not told
}

// Codes of status variables, and the bit of sql_mode.
const (
	statusFlags       = 0
	statusMode        = 1
	statusOldCatalog  = 2
	statusIncrement   = 3
	statusCharset     = 4
	statusCatalog     = 6
	noBackslashEscape = 1 << 20
)

// sessionOf reads the status variables of a statement up to the first that it does not know; those that it needs come first.
func sessionOf(b []byte) session {
	var s session
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		var n int
		switch kind {
		case statusFlags, statusIncrement:
			n = 4
		case statusMode:
			n = 8
			if len(b) >= n {
				s.mode.NoBackslashEscapes = binary.LittleEndian.Uint64(b)&noBackslashEscape != 0
			}
		case statusOldCatalog, statusCatalog:
			if len(b) > 0 {
				n = 1 + int(b[0])
			}
			if kind == statusOldCatalog {
				n++ // a zero at its end
			}
		case statusCharset:
			n = 6
			if len(b) >= n {
				s.collation = uint64(binary.LittleEndian.Uint16(b))
			}
		default:
			return s
		}
		if len(b) < n {
			return s
		}
		b = b[n:]
	}
	return s
}
