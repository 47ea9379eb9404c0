package fold

import "strings"

// Class is a set of collations whose equalities one fold keeps.
type Class uint8

// The classes.
const (
	// Bytes compares bytes.
	Bytes Class = iota
	// Trimmed compares characters, without spaces at the end.
	Trimmed
	// Root is of collations of Unicode that are for no language.
	Root
	// Tailored is of the collations for a language or an old character set.
	Tailored
	// Unknown is of all other collations. All their texts have one name.
	Unknown
)

// Of returns the class of a collation, by its name in the database. "" and "binary" are Bytes.
func Of(collation string) Class {
	name := strings.ToLower(collation)
	name = strings.Replace(name, "_nopad", "", 1)
	switch {
	case name == "", name == "binary":
		return Bytes
	case strings.HasSuffix(name, "_bin"):
		return Trimmed
	case strings.HasPrefix(name, "uca1400_"):
		return unicodeClass(name)
	}
	charset, rest, _ := strings.Cut(name, "_")
	switch charset {
	case "utf8", "utf8mb3", "utf8mb4", "ucs2", "utf16", "utf16le", "utf32":
		return unicodeClass(rest)
	}
	if strings.Contains(old, " "+name+" ") {
		return Tailored
	}
	return Unknown
}

// unicodeClass returns the class of a collation of Unicode, by its name without the character set.
func unicodeClass(name string) Class {
	if strings.Contains(root, " "+name+" ") {
		return Root
	}
	name = strings.TrimPrefix(name, "uca1400_")
	for _, end := range []string{"_ci", "_ai", "_as", "_cs", "_ai"} {
		name = strings.TrimSuffix(name, end)
	}
	if strings.Contains(languages, " "+name+" ") {
		return Tailored
	}
	return Unknown
}

// The names of collations are in lower case and without "_nopad".
const (
	root = " general_ci general_mysql500_ci unicode_ci unicode_520_ci 0900_ai_ci 0900_as_ci 0900_as_cs" +
		" uca1400_ai_ci uca1400_ai_cs uca1400_as_ci uca1400_as_cs "
	// languages lacks persian, where an Arabic letter equals a Latin one. It lacks the languages of MySQL's 0900 collations,
	// which have not been compared with a server.
	languages = " croatian croatian_mysql561 czech danish esperanto estonian german2 hungarian icelandic latvian lithuanian myanmar" +
		" polish roman romanian sinhala slovak slovenian spanish spanish2 swedish thai_520_w2 turkish vietnamese "
	// old lacks collations in which a letter equals one of another shape.
	old = " armscii8_general_ci ascii_general_ci cp1250_croatian_ci cp1250_czech_cs cp1250_polish_ci cp1251_general_ci" +
		" cp1251_general_cs cp1251_ukrainian_ci cp1257_general_ci cp850_general_ci cp852_general_ci cp866_general_ci dec8_swedish_ci" +
		" eucjpms_japanese_ci euckr_korean_ci gb2312_chinese_ci gbk_chinese_ci geostd8_general_ci greek_general_ci hebrew_general_ci" +
		" hp8_english_ci keybcs2_general_ci koi8r_general_ci koi8u_general_ci latin1_danish_ci latin1_general_ci latin1_general_cs" +
		" latin1_german1_ci latin1_german2_ci latin1_spanish_ci latin1_swedish_ci latin2_croatian_ci latin2_czech_cs" +
		" latin5_turkish_ci latin7_estonian_cs latin7_general_cs macroman_general_ci sjis_japanese_ci swe7_swedish_ci" +
		" ujis_japanese_ci "
)
