package lines

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/keystrand/keystrand"
)

// line is the JSON object of one message. Strings are pointers, to distinguish nil from empty.
type line struct {
	Stream      string    `json:"stream"`
	Partition   int32     `json:"partition"`
	Offset      int64     `json:"offset"`
	Key         *string   `json:"key,omitempty"`
	KeyBase64   []byte    `json:"key_base64,omitempty"`
	Value       *string   `json:"value,omitempty"`
	ValueBase64 []byte    `json:"value_base64,omitempty"`
	Headers     []header  `json:"headers,omitempty"`
	Time        time.Time `json:"time,omitzero"`
}

type header struct {
	Key         string  `json:"key"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// appendLine appends the line of m, including the newline, to b. On error it appends nothing.
func appendLine(b *bytes.Buffer, m *keystrand.Message) error {
	l := line{Stream: m.Stream, Partition: m.Partition, Offset: m.Offset, Time: m.Time}
	value := m.Value
	if value == nil && m.Native != nil {
		v, err := m.Native.AppendValue(nil)
		if err != nil {
			return fmt.Errorf("encode the native value: %w", err)
		}
		value = v
	}
	l.Key, l.KeyBase64 = textOf(m.Key)
	l.Value, l.ValueBase64 = textOf(value)
	if !utf8.ValidString(m.Stream) {
		return fmt.Errorf("name of the stream is not UTF-8: %q", m.Stream)
	}
	for _, h := range m.Headers {
		if !utf8.ValidString(h.Key) {
			return fmt.Errorf("key of a header is not UTF-8: %q", h.Key)
		}
		lh := header{Key: h.Key}
		lh.Value, lh.ValueBase64 = textOf(h.Value)
		l.Headers = append(l.Headers, lh)
	}
	start := b.Len()
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&l); err != nil { // for example a year after 9999
		b.Truncate(start)
		return err
	}
	return nil
}

func textOf(b []byte) (*string, []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	}
	return nil, b
}

// Decode decodes a line written by the sink. The message does not share memory with b. Decode returns an error for invalid
// input and for unknown fields.
func Decode(b []byte) (keystrand.Message, error) {
	var l line
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return keystrand.Message{}, fmt.Errorf("lines: decode: %w", err)
	}
	if len(bytes.TrimSpace(b[dec.InputOffset():])) > 0 {
		return keystrand.Message{}, errors.New("lines: decode: data after the first object of the line")
	}
	m := keystrand.Message{Stream: l.Stream, Partition: l.Partition, Offset: l.Offset, Time: l.Time}
	m.Key, m.Value = bytesOf(l.Key, l.KeyBase64), bytesOf(l.Value, l.ValueBase64)
	for _, h := range l.Headers {
		m.Headers = append(m.Headers, keystrand.Header{Key: h.Key, Value: bytesOf(h.Value, h.ValueBase64)})
	}
	return m, nil
}

func bytesOf(text *string, binary []byte) []byte {
	if text != nil {
		return []byte(*text)
	}
	return binary
}
