package wire

import "encoding/binary"

// Writer appends the primitive types of the Kafka protocol (https://kafka.apache.org/protocol#protocol_types).
// Flexible selects the compact forms of KIP-482.
type Writer struct {
	B        []byte
	Flexible bool
}

// I8 appends an INT8.
func (w *Writer) I8(v int8) { w.B = append(w.B, byte(v)) }

// I16 appends an INT16.
func (w *Writer) I16(v int16) { w.B = binary.BigEndian.AppendUint16(w.B, uint16(v)) }

// I32 appends an INT32.
func (w *Writer) I32(v int32) { w.B = binary.BigEndian.AppendUint32(w.B, uint32(v)) }

// I64 appends an INT64.
func (w *Writer) I64(v int64) { w.B = binary.BigEndian.AppendUint64(w.B, uint64(v)) }

// Bool appends a BOOLEAN.
func (w *Writer) Bool(v bool) {
	if v {
		w.I8(1)
	} else {
		w.I8(0)
	}
}

// Length appends the length of an array or of bytes.
func (w *Writer) Length(n int) {
	if w.Flexible {
		w.B = binary.AppendUvarint(w.B, uint64(n)+1)
	} else {
		w.I32(int32(n))
	}
}

// Text appends a STRING.
func (w *Writer) Text(s string) {
	if w.Flexible {
		w.B = binary.AppendUvarint(w.B, uint64(len(s))+1)
	} else {
		w.I16(int16(len(s)))
	}
	w.B = append(w.B, s...)
}

// Tags appends an empty tag section where the version has them.
func (w *Writer) Tags() {
	if w.Flexible {
		w.B = append(w.B, 0)
	}
}

// Bytes appends BYTES.
func (w *Writer) Bytes(b []byte) {
	w.Length(len(b))
	w.B = append(w.B, b...)
}
