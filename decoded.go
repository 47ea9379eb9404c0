package keystrand

import "bytes"

// decoded is what a [Decoder] has made of a message. It never changes, so copies of a message may share it.
type decoded struct {
	by    any    // the *Decoder[T]
	from  []byte // the Value that was decoded
	value any    // a *T
}

// same reports whether a and b are the same bytes of memory. A handler that has replaced a value must not get what was
// decoded from the one before.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// keepDecoded takes over what was decoded from the Value of m in a copy of m.
func (m *Message) keepDecoded(x *decoded) {
	if x != nil && same(x.from, m.Value) {
		m.decoded = x
	}
}

// cloneValue gives m its own copy of the bytes of its Value. What was decoded from them stays decoded.
func (m *Message) cloneValue() {
	x, old := m.decoded, m.Value
	m.Value, m.decoded = bytes.Clone(old), nil
	if x != nil && same(x.from, old) {
		m.decoded = &decoded{by: x.by, from: m.Value, value: x.value}
	}
}
