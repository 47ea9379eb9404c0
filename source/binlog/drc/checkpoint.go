package drc

import (
	"fmt"
	"strconv"
	"strings"
)

// position is the end of a transaction, as its number, or one of the names below. Position 0 is the beginning of a log.
type position int64

const (
	oldest position = -1 // the oldest checkpoint, when the stream begins
	end    position = -2 // the end of the topic, when the stream begins
	none   position = -3 // no records at all
)

// checkpoint returns the text of a position: TOPIC@LOG:NUMBER.
func (t *topic) checkpoint(p position) string {
	return t.name + "@" + t.log + ":" + strconv.FormatInt(int64(p), 10)
}

// parse returns the position of a checkpoint of this topic, or of a name.
func (t *topic) parse(text string) (position, *Error) {
	if p, ok := map[string]position{"oldest": oldest, "end": end, "none": none}[text]; ok {
		return p, nil
	}
	colon := strings.LastIndex(text, ":") + 1
	n, err := strconv.ParseUint(text[colon:], 10, 63)
	if err != nil || !strings.Contains(text[:colon], "@") {
		return 0, &Error{Code: BadRequest, Message: fmt.Sprintf("no checkpoint: %q: want TOPIC@LOG:NUMBER, oldest, end or none", text)}
	}
	if text != t.checkpoint(position(n)) {
		return 0, &Error{Code: Foreign, Checkpoint: text, Message: fmt.Sprintf(
			"checkpoint %s is from another log: those of this one begin with %s@%s", text, t.name, t.log)}
	}
	return position(n), nil
}
