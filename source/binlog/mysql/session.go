package mysql

import (
	"encoding/binary"

	"github.com/keystrand/keystrand/source/binlog/mysql/internal/statement"
)

// session is what a statement depends on.
type session struct {
	mode statement.Mode
	utf8 bool // the text is UTF-8
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
// A text whose character set is not told counts as UTF-8, as older servers do not tell it.
func sessionOf(b []byte) session {
	s := session{utf8: true}
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
				s.utf8 = isUTF8(binary.LittleEndian.Uint16(b))
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

// isUTF8 reports whether a collation of a client is one of utf8mb3 or utf8mb4. Clients cannot use most others: those of UTF-16
// and UTF-32 are refused by servers.
func isUTF8(id uint16) bool {
	switch {
	case id == 33, id == 83, id == 76, id == 223, 192 <= id && id <= 215: // utf8mb3
		return true
	case id == 45, id == 46, 224 <= id && id <= 247, 255 <= id && id <= 323: // utf8mb4
		return true
	case id == 11, id == 65: // ascii
		return true
	}
	return id >= 576 // MariaDB's later ones: UTF-8 but for UTF-16 and UTF-32
}
