package keystrand

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Lane is the name of a lane: the bytes that a [KeyFunc] gave to [KeyOf]. By default they are the key of the message.
//
// Its text names the lane for people: in logs, in the snapshot of a pipeline, and where an operator says which key to
// resume. [ParseLane] returns the same Lane for the text, whatever its bytes are.
type Lane string

// String returns the text of the lane: the name itself if it can be read, else the name in double quotes as
// [strconv.Quote] writes it. A name is quoted if it is empty, begins with a double quote, begins or ends with a space,
// or has bytes that are not printable.
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

// ParseLane returns the lane with this text. A text that begins with a double quote must be what [Lane.String] returns
// or another Go string in double quotes; any other is the name itself. The empty text is an error: the lane with the
// empty name is written "".
func ParseLane(text string) (Lane, error) {
	switch {
	case text == "":
		return "", errors.New(`keystrand: parse lane: the text is empty: write "" with its quotes for the lane with the empty name`)
	case text[0] != '"':
		return Lane(text), nil
	}
	name, err := strconv.Unquote(text)
	if err != nil {
		return "", fmt.Errorf("keystrand: parse lane %.100s: it begins with a double quote and is no Go string: quote the name with strconv.Quote: %w", text, err)
	}
	return Lane(name), nil
}
