package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/keyed"
)

// Headers that DeadLetter adds. They replace headers of these names that the message has, as a dead letter that is read and
// fails again does. A dead letter of a dead letter keeps KeyNull and ValueNull. A header is left out if it does not apply, or
// if the sink refuses the dead letter with it.
const (
	HeaderStream     = "keystrand-stream"
	HeaderPartition  = "keystrand-partition"
	HeaderOffset     = "keystrand-offset"
	HeaderTime       = "keystrand-time"        // Message.Time in milliseconds since 1970, decimal
	HeaderKey        = "keystrand-key"         // KeyNull, KeyString or KeyBinary
	HeaderValue      = "keystrand-value"       // ValueNull, if the message is a tombstone
	HeaderAttempts   = "keystrand-attempts"    // number of attempts since the last restart or hand-over
	HeaderFirstError = "keystrand-first-error" // error of the first attempt, cut to about 1 KiB
	HeaderError      = "keystrand-error"       // error of the last attempt, cut to about 1 KiB
	HeaderDropped    = "keystrand-dropped"     // number of headers of the message that are left out
	HeaderOrigin     = "keystrand-origin"      // of a dead letter of a dead letter: STREAM/PARTITION@OFFSET of the first message
	HeaderOriginTime = "keystrand-origin-time" // HeaderTime of the first message
)

// Values of HeaderKey and HeaderValue. A store that does not distinguish nil from empty, or text from bytes, loses them.
const (
	KeyNull   = "null"
	KeyString = "string" // UTF-8, may be empty
	KeyBinary = "binary"
	ValueNull = "null"
)

// letter is the pipeline's data of a dead letter on its way to its sink.
type letter struct {
	box         *letterBox
	tried       []any // names of the boxes that have refused it
	first, last string
	form        letterForm
	shrunk      bool // the log has told that the first form is refused
}

// letterForm selects the headers of a dead letter. A sink that refuses the letter gets it in the next form. Most refusals
// concern the size; others a header, such as one that occurs twice.
type letterForm struct {
	own     bool // the headers of the message
	details bool // all of the pipeline's headers, not only stream, partition and offset
	origin  bool // stream, partition and offset
	text    int  // maximum length in bytes of an error
}

var letterForms = []letterForm{ //nolint:gochecknoglobals // immutable table
	{own: true, details: true, origin: true, text: maxErrorText},
	{own: true, details: true, origin: true, text: 100},
	{details: true, origin: true, text: maxErrorText},
	{details: true, origin: true, text: 100},
	{origin: true},
	{},
}

// maxErrorText is the maximum length in bytes of an error in a dead letter. A longer one might make the message too large for
// the sink.
const maxErrorText = 1024

func newLetter(box *letterBox, first, last string) *letter {
	return &letter{box: box, first: first, last: last, form: letterForms[0]}
}

// shrink selects the next form. It returns false if there is none.
func (l *letter) shrink() bool {
	n := slices.Index(letterForms, l.form) + 1
	if n == len(letterForms) {
		return false
	}
	l.form = letterForms[n]
	return true
}

// hasTried reports whether the sink of a box has refused the letter.
func (l *letter) hasTried(b *letterBox) bool {
	name := b.name()
	return name == l.box.name() || slices.Contains(l.tried, name)
}

// message returns the dead letter of m. Its fields that a store acts on are its own: it has the time of writing, which
// outlets of dead letters set, since a broker deletes by time; and an empty value instead of none, since compaction takes a
// message without a value for a deletion of its key.
func (l *letter) message(m *keystrand.Message) keystrand.Message {
	c := *m.Clone()
	c.Stream, c.Time = "", time.Time{}
	dropped := 0
	c.Headers = slices.DeleteFunc(c.Headers, func(h keystrand.Header) bool { return isLetterHeader(h.Key) })
	if !l.form.own {
		dropped, c.Headers = len(c.Headers), nil
	}
	add := func(key, value string) {
		c.Headers = append(c.Headers, keystrand.Header{Key: key, Value: []byte(value)})
	}
	if l.form.origin {
		add(HeaderStream, m.Stream)
		add(HeaderPartition, strconv.Itoa(int(m.Partition)))
		add(HeaderOffset, strconv.FormatInt(m.Offset, 10))
	}
	null := isTombstone(m) || wasTombstone(m)
	if null {
		c.Value = []byte{}
	}
	if !l.form.details {
		return c
	}
	if place, at := firstOrigin(m); place != "" {
		add(HeaderOrigin, place)
		if at != "" {
			add(HeaderOriginTime, at)
		}
	}
	ms := m.Time.UnixMilli()
	if d := m.Time.Sub(time.UnixMilli(ms)); !m.Time.IsZero() && 0 <= d && d < time.Millisecond { // else ms has wrapped around
		add(HeaderTime, strconv.FormatInt(ms, 10))
	}
	add(HeaderKey, keyKind(m))
	if null {
		add(HeaderValue, ValueNull)
	}
	add(HeaderAttempts, strconv.Itoa(int(m.Attempt)))
	add(HeaderFirstError, cut(l.first, l.form.text))
	add(HeaderError, cut(l.last, l.form.text))
	if dropped > 0 {
		add(HeaderDropped, strconv.Itoa(dropped))
	}
	return c
}

// isTombstone reports whether m has no value, not even one that its Native makes.
func isTombstone(m *keystrand.Message) bool {
	if m.Value != nil || m.Native == nil {
		return m.Value == nil
	}
	n, ok := m.Native.(interface{ Tombstone() bool })
	return ok && n.Tombstone()
}

// wasTombstone reports whether m is the dead letter of a tombstone.
func wasTombstone(m *keystrand.Message) bool {
	return len(m.Value) == 0 && m.Native == nil && letterHeader(m, HeaderValue) == ValueNull
}

// firstOrigin returns HeaderOrigin and HeaderOriginTime for the dead letter of a dead letter; else "".
func firstOrigin(m *keystrand.Message) (place, at string) {
	if place = letterHeader(m, HeaderOrigin); place != "" {
		return place, letterHeader(m, HeaderOriginTime)
	}
	stream, partition, offset := letterHeader(m, HeaderStream), letterHeader(m, HeaderPartition), letterHeader(m, HeaderOffset)
	if stream == "" || partition == "" || offset == "" {
		return "", ""
	}
	return stream + "/" + partition + "@" + offset, letterHeader(m, HeaderTime)
}

// letterHeader returns a header of a message that may be a dead letter, cut: any producer may have written it.
func letterHeader(m *keystrand.Message, name string) string {
	v, _ := m.Header(name)
	return cut(string(v[:min(len(v), maxErrorText)]), maxErrorText/2)
}

func isLetterHeader(key string) bool {
	switch key {
	case HeaderStream, HeaderPartition, HeaderOffset, HeaderTime, HeaderKey, HeaderValue, HeaderAttempts, HeaderFirstError, HeaderError, HeaderDropped,
		HeaderOrigin, HeaderOriginTime:
		return true
	}
	return false
}

func keyKind(m *keystrand.Message) string {
	switch {
	case m.Key == nil, len(m.Key) == 0 && letterHeader(m, HeaderKey) == KeyNull:
		return KeyNull
	case utf8.Valid(m.Key):
		return KeyString
	}
	return KeyBinary
}

// textOf returns err's text, cut to maxErrorText.
func textOf(err error) string { return cut(fmt.Sprint(err), maxErrorText) } // not err.Error(), which may panic

// cut cuts text to n bytes, at a character boundary. Some stores accept UTF-8 only.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.Clone(text[:n]) + "..."
}

// errorTexts are the errors and the attempts of a message that is handled again.
type errorTexts struct {
	first, last string
	attempts    int32 // that have ended
}

// noteError keeps the error of a message's first attempt for its dead letter, and that of the last one for the snapshot. An
// attempt that does not count is no first one.
func (pt *partition) noteError(it *item, err error, counts bool) {
	var texts errorTexts
	if it.marks.has(erred) {
		texts = pt.lastAttempt(it.number)
	}
	it.marks |= erred
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		if outcome, _ := keystrand.OutcomeOf(cause); outcome != keystrand.OutcomeRetry {
			err = cause // without the delay of its retry
			break
		}
	}
	texts.last, texts.attempts = textOf(err), it.Attempt
	if counts && texts.first == "" {
		texts.first = texts.last
	}
	pt.errors.Store(it.number, texts)
}

// firstError returns the text of noteError, or that of err if there is none.
func (pt *partition) firstError(it *item, err error) string {
	if first := pt.lastAttempt(it.number).first; first != "" {
		return first
	}
	return textOf(err)
}

// lastError returns what the last attempt of a message returned.
func (pt *partition) lastError(it *item) string {
	if it.isPump() || !it.marks.has(erred) {
		return ""
	}
	return pt.lastAttempt(it.number).last
}

// lastAttempt returns what noteError has kept of a message.
func (pt *partition) lastAttempt(number int64) errorTexts {
	known, _ := pt.errors.Load(number)
	texts, _ := known.(errorTexts)
	return texts
}

// attempted fills in the attempts of the first message of a lane, and what the last one returned.
func (pt *partition) attempted(k *KeySnapshot, l *keyed.Lane[item]) {
	if l.State == keyed.Running && l.Head.Epoch == pt.id.Epoch { // its turn may write marks and attempts now, so they are not copied
		texts := pt.lastAttempt(l.Head.number)
		k.Err, k.Attempt = texts.last, int(texts.attempts)
		return
	}
	k.Err = pt.lastError(&l.Head)
}

// forget drops what the partition keeps about an item beside its lane.
func (pt *partition) forget(it *item) {
	if it.marks.has(unkeyed) {
		pt.keyErrors.Delete(it.number)
	}
	if it.marks.has(erred) {
		pt.errors.Delete(it.number)
	}
}
