package demux

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// mark is the end of a transaction: a place in the log, and its number.
type mark struct {
	Number int64 `json:"number"`
	Place  Place `json:"place"`
	// State is what the log has told of the table up to there.
	State string `json:"state,omitempty"`
	// Unnumbered says that Number is not that of Place: the place was numbered in another log, and the reader has not passed it.
	Unnumbered bool `json:"unnumbered,omitempty"`
	// Part is what the table has settled of the transaction behind Place.
	Part part `json:"part,omitzero"`

	within Place // the transaction behind Place, as Event.Place names it; empty: not known
}

// part is what a table has settled of a transaction: the first rows and statements in it. It says so on another server, too, where
// rows have other numbers: a transaction has the same rows in the same order on all servers.
type part struct {
	Transaction Place  `json:"transaction"` // as Event.Place names it
	Settled     int64  `json:"settled"`     // count of rows and statements, of all wanted tables
	Filter      string `json:"filter"`      // with which they were counted
}

// at returns the mark with what is settled behind it, for a frontier.
func (m mark) at(frontier int64, filter string) mark {
	if n := frontier - m.Number - 1; n > 0 && m.within != "" {
		m.Part = part{m.within, n, filter}
	}
	return m
}

// text returns the mark as Progress.At has it.
func (m mark) text() string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("demux: encode a place: %v", err)) // of strings and numbers
	}
	return string(text)
}

// readMark reads a text of mark.text.
func readMark(text string) (mark, error) {
	var m mark
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return mark{}, fmt.Errorf("read the place %.200q: %w", text, err)
	}
	if m.Place == "" || m.Number < 0 || m.Part.Settled < 0 {
		return mark{}, fmt.Errorf("read the place %.200q: %w", text, errNoPlace)
	}
	return m, nil
}

var errNoPlace = errors.New("it has no place, or a negative number")

// mostMarks is how many transaction ends a table remembers above its last commit.
const mostMarks = 128

// marks are the transaction ends from which a table can be restarted, in ascending order. There is always one. marks is not safe
// for concurrent use.
type marks []mark

// add adds a later mark. It ignores one that is not later, but for the transaction behind it. At mostMarks it forgets every second one: a restart then reads more
// of the log.
func (ms *marks) add(m mark) {
	if last := &(*ms)[len(*ms)-1]; m.Number <= last.Number {
		if m.Number == last.Number && m.within != "" && !last.Unnumbered {
			last.within = m.within
		}
		return
	}
	if len(*ms) >= mostMarks {
		kept := (*ms)[:0]
		for i, old := range *ms {
			if i%2 == 0 {
				kept = append(kept, old)
			}
		}
		clear((*ms)[len(kept):])
		*ms = kept
	}
	*ms = append(*ms, m)
}

func (ms *marks) last() mark { return (*ms)[len(*ms)-1] }

// below returns the last mark whose number is at or below most, the first one if there is none. It forgets those before it, since
// most never decreases.
func (ms *marks) below(most int64) mark {
	i, found := slices.BinarySearchFunc(*ms, most, func(m mark, most int64) int { return int(min(1, max(-1, m.Number-most))) })
	if !found {
		i--
	}
	if i > 0 {
		*ms = slices.Delete(*ms, 0, i)
	}
	return (*ms)[0]
}
