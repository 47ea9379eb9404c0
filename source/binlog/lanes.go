package binlog

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keystrand/keystrand/source/binlog/internal/fold"
)

// lanes names the lanes of a table's rows. It is immutable.
//
// The names are stored with diverted keys, so they must be the same in every release.
type lanes struct {
	keys []laneKey // none: every row has the lane keyless
}

type laneKey struct {
	label string // the name of the index and "="
	parts []lanePart
}

type lanePart struct {
	column int
	prefix int // characters or bytes of the value that are in the index; 0 for all
	class  fold.Class
}

// keyless is the lane of rows that no key names.
const keyless = "*"

func lanesOf(t *Table) lanes {
	l := lanes{}
	if t.Whole {
		return l
	}
	for _, k := range t.Keys {
		key := laneKey{label: k.Name + "="}
		for i, c := range k.Columns {
			if c < 0 || c >= len(t.Columns) {
				return lanes{} // as for Table.Whole
			}
			p := lanePart{column: c, class: classOf(&t.Columns[c])}
			if i < len(k.Prefixes) {
				p.prefix = k.Prefixes[i]
			}
			key.parts = append(key.parts, p)
		}
		if len(key.parts) > 0 {
			l.keys = append(l.keys, key)
		}
	}
	return l
}

// classOf returns how strings of a column compare. Texts without a known collation share one lane.
func classOf(c *Column) fold.Class {
	if c.Collation != "" {
		return fold.Of(c.Collation)
	}
	switch strings.ToLower(c.Type) {
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set":
		return fold.Unknown
	}
	return fold.Bytes
}

// same reports whether two images have the same values in the key, none of them NULL. It may return false for values that are
// compared more slowly.
func (k *laneKey) same(a, b []any) bool {
	for i := range k.parts {
		c := k.parts[i].column
		same := false
		switch v := a[c].(type) {
		case int64:
			w, ok := b[c].(int64)
			same = ok && v == w
		case uint64:
			w, ok := b[c].(uint64)
			same = ok && v == w
		case string:
			w, ok := b[c].(string)
			same = ok && v == w
		}
		if !same {
			return false
		}
	}
	return true
}

// append appends the lane of the key for an image of a row. null reports that a part is NULL, so the image has no lane. ok is
// false if the lane of a value is not known.
func (k *laneKey) append(dst []byte, image []any) (_ []byte, null, ok bool) {
	dst = append(dst, k.label...)
	for i := range k.parts {
		p := &k.parts[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		start := len(dst)
		switch v := image[p.column].(type) {
		case nil:
			return dst, true, true
		case int64:
			dst = strconv.AppendInt(dst, v, 10)
		case uint64:
			dst = strconv.AppendUint(dst, v, 10)
		case float64:
			dst = appendFloat(dst, v)
		case string:
			if dst, ok = p.appendText(dst, v); !ok {
				return dst, false, false
			}
			dst = shorten(dst, start)
		case []byte:
			if dst, ok = p.appendBytes(dst, v); !ok {
				return dst, false, false
			}
			dst = shorten(dst, start)
		default:
			return dst, false, false
		}
	}
	return dst, false, true
}

// appendFloat appends a number so that 0 and -0, which are equal, have one text.
func appendFloat(dst []byte, v float64) []byte {
	if v == 0 {
		v = 0
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

func (p *lanePart) appendText(dst []byte, v string) ([]byte, bool) {
	if p.class == fold.Bytes { // a decimal, a date or a time
		if isNegativeZero(v) {
			v = v[1:]
		}
		return append(dst, v[:min(len(v), p.length())]...), true
	}
	if p.prefix > 0 && p.prefix < len(v) {
		v = firstRunes(v, p.prefix)
	}
	return p.class.Append(dst, v)
}

func (p *lanePart) appendBytes(dst, v []byte) ([]byte, bool) {
	if p.class == fold.Bytes {
		return append(dst, v[:min(len(v), p.length())]...), true
	}
	return p.appendText(dst, string(v))
}

func (p *lanePart) length() int {
	if p.prefix > 0 {
		return p.prefix
	}
	return math.MaxInt
}

// isNegativeZero reports whether v is a text like "-0.00" or "-00:00:00".
func isNegativeZero(v string) bool {
	return len(v) > 1 && v[0] == '-' && strings.Trim(v[1:], "0.:") == ""
}

// firstRunes returns the first n characters of s.
func firstRunes(s string, n int) string {
	i := 0
	for ; n > 0 && i < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return s[:i]
}

// maxPart is the most bytes of a value in the name of a lane.
const maxPart = 64

// shorten replaces all but the first half of a long value, from start, by its FNV-1a hash. Two values that collide share a
// lane, which costs time and no more.
func shorten(dst []byte, start int) []byte {
	v := dst[start:]
	if len(v) <= maxPart {
		return dst
	}
	h := uint64(14695981039346656037)
	for _, b := range v {
		h = (h ^ uint64(b)) * 1099511628211
	}
	dst = append(dst[:start+maxPart/2], '~')
	return strconv.AppendUint(dst, h, 16)
}
