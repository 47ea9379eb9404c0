package keystrand

import "bytes"

// decoded is the result of a [Decoder] for one message. It is immutable, so copies of a message may share it.
type decoded struct {
	by    any    // the *Decoder[T]
	from  []byte // the Value that was decoded
	value any    // a *T
}

// same reports whether a and b share their memory. It detects a replaced Message.Value, whose decoded value is outdated.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// keepDecoded stores x in m if x was decoded from the Value of m. A copy of m may have been decoded in its place.
func (m *Message) keepDecoded(x *decoded) {
	if x != nil && same(x.from, m.Value) {
		m.decoded = x
	}
}

// cloneValue replaces the Value of m with a copy of its bytes. It keeps the decoded value.
func (m *Message) cloneValue() {
	x, old := m.decoded, m.Value
	m.Value, m.decoded = bytes.Clone(old), nil
	if x != nil && same(x.from, old) {
		m.decoded = &decoded{by: x.by, from: m.Value, value: x.value}
	}
}
