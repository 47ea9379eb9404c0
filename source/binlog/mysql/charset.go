package mysql

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// charset is a character set of the server.
type charset struct {
	encoding encoding.Encoding
	wide     bool                     // bytes below 128 are not those of ASCII
	size     func(lead byte) int      // of a character; nil: 1
	fixes    map[string]string        // characters that the server decodes in another way; empty: not at all
	fix      func(char string) string // the same for ranges; empty: as encoding does
	refuse   func(char string) bool   // the same for ranges, not at all
}

// charsets are the server's character sets that can be decoded without loss. A live test compares every character with the
// server's.
//
//nolint:gochecknoglobals // immutable table
var charsets = map[string]charset{
	"latin1":   {encoding: charmap.Windows1252}, // the server's latin1 is not ISO 8859-1
	"latin2":   {encoding: charmap.ISO8859_2},
	"latin5":   {encoding: charmap.ISO8859_9},
	"latin7":   {encoding: charmap.ISO8859_13},
	"cp1250":   {encoding: charmap.Windows1250},
	"cp1251":   {encoding: charmap.Windows1251},
	"cp1256":   {encoding: charmap.Windows1256},
	"cp1257":   {encoding: charmap.Windows1257},
	"cp850":    {encoding: charmap.CodePage850},
	"cp852":    {encoding: charmap.CodePage852},
	"cp866":    {encoding: charmap.CodePage866, fixes: map[string]string{"\xfc": "ⁿ", "\xfd": "²"}},
	"greek":    {encoding: charmap.ISO8859_7, fixes: map[string]string{"\xa1": "ʽ", "\xa2": "ʼ"}},
	"hebrew":   {encoding: charmap.ISO8859_8, fixes: map[string]string{"\xaf": "‾"}},
	"koi8r":    {encoding: charmap.KOI8R},
	"koi8u":    {encoding: charmap.KOI8U, fixes: map[string]string{"\x95": "•", "\xae": "╝", "\xbe": "╬"}},
	"macroman": {encoding: charmap.Macintosh},
	"tis620":   {encoding: charmap.Windows874, fix: control, fixes: map[string]string{"\xa0": ""}},
	"gb2312":   {encoding: simplifiedchinese.GBK, size: pairs, fixes: map[string]string{"\xa1\xa4": "・", "\xa1\xaa": "―"}},
	"gbk":      {encoding: simplifiedchinese.GBK},
	"gb18030":  {encoding: simplifiedchinese.GB18030},
	"big5": {encoding: traditionalchinese.Big5, size: pairs, refuse: later, fixes: map[string]string{
		"\xa1\x45": "•", "\xa1\x4e": "､", "\xa1\xc2": "‾", "\xa1\xe3": "∼", "\xa1\xf2": "♁", "\xa1\xf3": "☉",
		"\xa2\x41": "／", "\xa2\x42": "＼", "\xa2\x44": "¥", "\xa2\x46": "¢", "\xa2\x47": "£",
	}},
	"sjis": {encoding: japanese.ShiftJIS, size: shifted, fixes: map[string]string{
		"\x81\x5f": `\`, "\x81\x60": "〜", "\x81\x61": "‖", "\x81\x7c": "−", "\x81\x91": "¢", "\x81\x92": "£", "\x81\xca": "¬",
	}},
	"cp932": {encoding: japanese.ShiftJIS},
	"ujis": {encoding: japanese.EUCJP, size: extended, fix: private, fixes: map[string]string{
		"\xa1\xc0": `\`, "\xa1\xc1": "〜", "\xa1\xc2": "‖", "\xa1\xdd": "−", "\xa1\xf1": "¢", "\xa1\xf2": "£", "\xa2\xcc": "¬",
		"\x8f\xa2\xb7": "~",
	}},
	"eucjpms": {encoding: japanese.EUCJP, size: extended, fix: private, fixes: map[string]string{"\x8f\xa2\xc3": "￤"}},
	"euckr":   {encoding: korean.EUCKR},
	"ucs2":    {encoding: unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), wide: true},
	"utf16":   {encoding: unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), wide: true},
	"utf16le": {encoding: unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), wide: true},
	"utf32":   {encoding: utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM), wide: true},
}

func pairs(lead byte) int {
	if lead > 0x80 {
		return 2
	}
	return 1
}

func shifted(lead byte) int {
	if 0x81 <= lead && lead <= 0x9f || 0xe0 <= lead {
		return 2
	}
	return 1
}

func extended(lead byte) int {
	switch {
	case lead == 0x8f:
		return 3
	case lead == 0x8e, lead >= 0xa1:
		return 2
	}
	return 1
}

// control decodes the control characters above ASCII.
func control(char string) string {
	if char[0] < 0x80 || 0xa0 <= char[0] {
		return ""
	}
	return string(rune(char[0]))
}

// private decodes the characters that are left to users.
func private(char string) string {
	if len(char) != 2 || char[0] < 0xf5 || char[0] == 0xff || char[1] < 0xa1 || char[1] == 0xff {
		return ""
	}
	return string(0xe000 + 94*rune(char[0]-0xf5) + rune(char[1]-0xa1))
}

// later reports whether a character was added to Big5 by some systems, each in its own way.
func later(char string) bool { return "\xc6\xa1" <= char && char < "\xc9" }

var errNoCharset = errors.New("its character set cannot be decoded")

// decoderOf returns the function that decodes texts of a character set to UTF-8, nil if they need none.
func decoderOf(name string) (func(string) (string, error), error) {
	switch name {
	case "utf8mb4", "utf8mb3", "utf8", "ascii":
		return nil, nil //nolint:nilnil // see above
	}
	c, ok := charsets[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s: convert the column to utf8mb4", errNoCharset, name)
	}
	decoder := c.encoding.NewDecoder()
	return func(s string) (string, error) {
		if !c.wide && isASCII(s) {
			return s, nil
		}
		text, err := c.decode(decoder, s)
		if err == nil && strings.ContainsRune(text, utf8.RuneError) {
			err = errors.New("it is no valid text")
		}
		if err != nil {
			return "", fmt.Errorf("%w: %s: %.100q: %w", errNoCharset, name, s, err)
		}
		return text, nil
	}, nil
}

// decode decodes a text in pieces between the characters that the server decodes in its own way.
func (c *charset) decode(decoder *encoding.Decoder, s string) (string, error) {
	if c.fixes == nil {
		return decoder.String(s)
	}
	var b strings.Builder
	from := 0 // begin of the piece
	flush := func(to int) error {
		piece, err := decoder.String(s[from:to])
		b.WriteString(piece)
		return err
	}
	for i := 0; i < len(s); {
		n := 1
		if c.size != nil {
			n = min(c.size(s[i]), len(s)-i)
		}
		char := s[i : i+n]
		text, fixed := c.fixes[char]
		if !fixed && c.fix != nil {
			text = c.fix(char)
		}
		if fixed && text == "" || c.refuse != nil && c.refuse(char) {
			return "", fmt.Errorf("the server has no Unicode for %x, or it is not known here", char)
		}
		if text != "" {
			if err := flush(i); err != nil {
				return "", err
			}
			b.WriteString(text)
			from = i + n
		}
		i += n
	}
	err := flush(len(s))
	return b.String(), err
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
