package fold

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Append appends the name of s under a collation of the class, and reports whether s has one. If not, dst is returned with
// anything appended.
//
// A name is the text without spaces at the end for Trimmed, and the text itself for Bytes. For Root and Tailored it has the
// letters and digits of s, in lower case and without accents. Other characters, such as punctuation, count for nothing.
func (c Class) Append(dst []byte, s string) ([]byte, bool) {
	switch c {
	case Bytes:
		return append(dst, s...), true
	case Trimmed:
		return append(dst, strings.TrimRight(s, " ")...), true
	case Unknown:
		return dst, true
	case Root, Tailored:
	}
	ascii := c.ascii()
	last := byte(0) // letter of the name, if it has the bit once
	for i := 0; i < len(s); {
		if b := s[i]; b < utf8.RuneSelf {
			switch b = ascii[b]; b {
			case drop:
			case strange:
				return dst, false
			default:
				dst, last = letter(dst, last, b)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return dst, false
		}
		switch what, n := actionOf(r); what {
		case leaveOut:
		case keep:
			dst, last = append(dst, s[i:i+size]...), 0
		case digit:
			dst, last = append(dst, '0'+byte(n)), 0
		case convert:
			var ok bool
			if dst, last, ok = c.convert(dst, last, s[i:i+size], r); !ok {
				return dst, false
			}
		case refuse:
			return dst, false
		}
		i += size
	}
	return dst, true
}

// letter appends an ASCII letter or digit of the name, which may have the bit once. Then it is not repeated: an "ss" can equal an
// "s", because both can equal a "ß".
func letter(dst []byte, last, b byte) ([]byte, byte) {
	if b == last {
		return dst, last
	}
	if b < once {
		return append(dst, b), 0
	}
	return append(dst, b&^once), b
}

// convert appends the letters of a character that is more than a letter in lower case.
func (c Class) convert(dst []byte, last byte, s string, r rune) ([]byte, byte, bool) {
	parts := norm.NFKD.PropertiesString(s).Decomposition()
	if parts == nil {
		return c.base(dst, last, r)
	}
	for len(parts) > 0 {
		r, size := utf8.DecodeRune(parts)
		parts = parts[size:]
		var ok bool
		if dst, last, ok = c.base(dst, last, r); !ok {
			return dst, last, false
		}
	}
	return dst, last, true
}

// base appends a character that has no parts.
func (c Class) base(dst []byte, last byte, r rune) ([]byte, byte, bool) {
	r = unicode.ToLower(unicode.ToUpper(r))
	if 0x3041 <= r && r <= 0x3096 {
		r += 0x60 // Hiragana to Katakana
	}
	if to := same(r); to != "" {
		for _, r := range to {
			dst, last, _ = c.plain(dst, last, r)
		}
		return dst, last, true
	}
	return c.plain(dst, last, r)
}

// plain appends a lower-case letter that stands for itself, or another character without parts.
func (c Class) plain(dst []byte, last byte, r rune) ([]byte, byte, bool) {
	if r < utf8.RuneSelf {
		switch b := c.ascii()[r]; b {
		case drop:
			return dst, last, true
		case strange:
			return dst, last, false
		default:
			dst, last = letter(dst, last, b)
			return dst, last, true
		}
	}
	switch what, _ := actionOf(r); what {
	case leaveOut:
		return dst, last, true
	case keep, convert:
		return utf8.AppendRune(dst, r), 0, true
	case refuse, digit:
	}
	return dst, last, false
}

func (c Class) ascii() *[128]byte {
	if c == Tailored {
		return &tailoredASCII
	}
	return &rootASCII
}
