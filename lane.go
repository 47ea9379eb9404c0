package keystrand

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Lane is the name of a lane: the bytes that a [KeyFunc] passed to [KeyOf]. By default it is the key of the message.
//
// Logs and the snapshot of a pipeline show the text of a lane, and operators use it to name the key to resume. [ParseLane]
// converts the text back to the same Lane, for any bytes.
type Lane string

// String returns the text of the lane. It is the name itself, or the name quoted by [strconv.Quote]. A name is quoted if it
// is empty, begins with a double quote, begins or ends with a space, or has unprintable bytes.
func (l Lane) String() string {
	if l.plain() {
		return string(l)
	}
	return strconv.Quote(string(l))
}

func (l Lane) plain() bool {
	s := string(l)
	if s == "" || s[0] == '"' || strings.TrimSpace(s) != s || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

// ParseLane returns the lane with this text. If text begins with a double quote, it must be a quoted Go string, such as
// [Lane.String] returns. Any other text is the name itself. The empty text is an error: the text of the lane with the empty
// name is "".
func ParseLane(text string) (Lane, error) {
	switch {
	case text == "":
		return "", errors.New(`keystrand: parse lane: the text is empty: for the lane with the empty name write two double quotes, ""`)
	case text[0] != '"':
		return Lane(text), nil
	}
	name, err := strconv.Unquote(text)
	if err != nil {
		return "", fmt.Errorf("keystrand: parse lane %.100s: not a quoted Go string: a name that begins with a double quote must be quoted with strconv.Quote: %w", text, err)
	}
	return Lane(name), nil
}
