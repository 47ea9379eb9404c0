package fold

import (
	"sort"
	"strings"
)

// action is what becomes of a character in a name.
type action uint8

const (
	refuse   action = iota // it may equal characters of another shape: the text has no name
	leaveOut               // it counts for nothing, or equals nothing that is kept
	keep                   // it equals nothing but itself
	convert                // it equals its base letters in lower case
	digit                  // it equals an ASCII digit
)

// actionOf returns the action of a character that is not ASCII.
func actionOf(r rune) (action, rune) {
	if 0x4E00 <= r && r <= 0x9FA5 { // the most frequent ones
		return keep, 0
	}
	i := sort.Search(len(chars), func(i int) bool { return chars[i].to >= r })
	if i == len(chars) || r < chars[i].from {
		return refuse, 0
	}
	return chars[i].action, r - chars[i].from
}

// chars has the characters whose equalities are known, in ascending order.
//
//nolint:gochecknoglobals // immutable table
var chars = [...]struct {
	from, to rune
	action   action
}{
	{0x80, 0xA9, leaveOut},
	{0xAA, 0xAA, convert},
	{0xAB, 0xB1, leaveOut},
	{0xB2, 0xB3, convert},
	{0xB4, 0xB4, leaveOut},
	{0xB5, 0xB5, convert},
	{0xB6, 0xB8, leaveOut},
	{0xB9, 0xBA, convert},
	{0xBB, 0xBB, leaveOut}, // after it ¼, ½ and ¾
	{0xBF, 0xBF, leaveOut},
	{0xC0, 0xD6, convert}, // Latin
	{0xD7, 0xD7, leaveOut},
	{0xD8, 0xF6, convert},
	{0xF7, 0xF7, leaveOut},
	{0xF8, 0x17F, convert},
	{0x1A0, 0x1A1, convert},
	{0x1AF, 0x1B0, convert},
	{0x1CD, 0x1DC, convert},
	{0x1DE, 0x1E3, convert},
	{0x1E6, 0x1ED, convert},
	{0x1F0, 0x1F0, convert},
	{0x1F4, 0x1F5, convert},
	{0x1F8, 0x21B, convert},
	{0x21E, 0x21F, convert},
	{0x226, 0x233, convert},
	{0x300, 0x344, leaveOut}, // accents
	{0x346, 0x34E, leaveOut},
	{0x386, 0x386, convert}, // Greek
	{0x388, 0x38A, convert},
	{0x38C, 0x38C, convert},
	{0x38E, 0x3A1, convert},
	{0x3A3, 0x3CE, convert},
	{0x400, 0x45F, convert}, // Cyrillic
	{0x490, 0x491, convert},
	{0x531, 0x556, convert}, // Armenian
	{0x561, 0x586, convert},
	{0x5B0, 0x5BD, leaveOut}, // Hebrew
	{0x5D0, 0x5EA, convert},
	{0x621, 0x63A, convert}, // Arabic
	{0x640, 0x640, leaveOut},
	{0x641, 0x64A, convert},
	{0x64B, 0x655, leaveOut},
	{0x660, 0x669, digit},
	{0x6F0, 0x6F9, digit},
	{0x900, 0x903, leaveOut}, // Devanagari
	{0x904, 0x939, convert},
	{0x93A, 0x93C, leaveOut},
	{0x93E, 0x94F, leaveOut},
	{0x966, 0x96F, digit},
	{0xE01, 0xE2E, keep}, // Thai
	{0xE2F, 0xE4F, leaveOut},
	{0xE50, 0xE59, digit},
	{0xE5A, 0xE5B, leaveOut},
	{0x10D0, 0x10F0, keep},    // Georgian
	{0x1E00, 0x1E99, convert}, // Latin
	{0x1E9E, 0x1E9E, convert},
	{0x1EA0, 0x1EF9, convert},
	{0x200B, 0x200F, leaveOut}, // punctuation and symbols
	{0x2010, 0x2023, leaveOut},
	{0x2027, 0x202F, leaveOut},
	{0x2030, 0x2032, leaveOut},
	{0x2035, 0x2035, leaveOut},
	{0x2038, 0x203B, leaveOut},
	{0x20AC, 0x20AC, leaveOut},
	{0x2190, 0x21FF, leaveOut},
	{0x2500, 0x2775, leaveOut},
	{0x3000, 0x3003, leaveOut},
	{0x3008, 0x3011, leaveOut},
	{0x3014, 0x301B, leaveOut},
	{0x3041, 0x3096, convert}, // Kana
	{0x3099, 0x309A, leaveOut},
	{0x30A1, 0x30FA, convert},
	{0x30FB, 0x30FC, leaveOut},
	{0x3400, 0x4DB5, keep}, // Han
	{0x4E00, 0x9FA5, keep},
	{0xAC00, 0xD7A3, keep}, // Hangul
	{0xFE0F, 0xFE0F, leaveOut},
	{0xFEFF, 0xFEFF, leaveOut},
	{0xFF01, 0xFF5E, convert}, // full width and half width
	{0xFF66, 0xFF9D, convert},
	{0xFF9E, 0xFF9F, leaveOut},
	{0xFFE5, 0xFFE5, leaveOut},
	{0xFFFD, 0xFFFD, leaveOut},   // equals every emoji in old collations
	{0x1F1E6, 0x1F1FF, leaveOut}, // emoji
	{0x1F300, 0x1F64F, leaveOut},
	{0x1F680, 0x1F6FF, leaveOut},
	{0x1F900, 0x1F9FF, leaveOut},
	{0x1FA70, 0x1FAFF, leaveOut},
}

// same returns the letters that a lower-case letter without accents equals in some collation, if they are others; else "".
func same(r rune) string {
	switch r {
	case 'ß', 'ẞ':
		return "ss"
	case 'æ':
		return "ae"
	case 'œ':
		return "oe"
	case 'þ':
		return "th"
	case 'ø':
		return "o"
	case 'đ', 'ð':
		return "d"
	case 'ł':
		return "l"
	case 'ħ':
		return "h"
	case 'ı':
		return "i"
	case 'ς':
		return "σ"
	case 'ґ':
		return "г"
	case 'ך':
		return "כ"
	case 'ם':
		return "מ"
	case 'ן':
		return "נ"
	case 'ף':
		return "פ"
	case 'ץ':
		return "צ"
	}
	const small, large = "ァィゥェォッャュョヮヵヶ", "アイウエオツヤユヨワカケ"
	if i := strings.IndexRune(small, r); i >= 0 {
		return large[i : i+3]
	}
	return ""
}

const (
	drop    = 0    // counts for nothing
	strange = 1    // may equal a letter
	once    = 0x80 // bit of a letter that may stand once for twice
)

// rootASCII and tailoredASCII have the letter or digit of the name for each ASCII character.
//
//nolint:gochecknoglobals // immutable tables
var (
	rootASCII     = asciiTable(false, "", "")
	tailoredASCII = asciiTable(true, "eh", "ijyuvw")
)

// asciiTable returns a table that leaves out some lower-case letters and makes others an "i". The collations for languages
// need that: "ü" equals "y" in Danish and "ue" in German, "ch" equals "c" in Lithuanian. In those of old character sets
// some punctuation equals a letter.
func asciiTable(tailored bool, out, i string) (table [128]byte) {
	for b := byte('0'); b <= '9'; b++ {
		table[b] = b
	}
	for b := byte('a'); b <= 'z'; b++ {
		to := b
		switch {
		case strings.IndexByte(out, b) >= 0:
			to = drop
		case strings.IndexByte(i, b) >= 0:
			to = 'i' | once
		case b == 's' || tailored:
			to = b | once
		}
		table[b], table[b-'a'+'A'] = to, to
	}
	if tailored {
		table['['], table['\\'], table[']'], table['~'] = strange, strange, strange, strange
	}
	return table
}
