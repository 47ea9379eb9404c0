package records

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// oldMessage writes a message of magic 0 or 1.
func oldMessage(magic int8, offset int64, attrs byte, ms int64, key, value []byte) []byte {
	be := binary.BigEndian
	tail := []byte{byte(magic), attrs}
	if magic == 1 {
		tail = be.AppendUint64(tail, uint64(ms))
	}
	for _, b := range [][]byte{key, value} {
		if b == nil {
			tail = be.AppendUint32(tail, 0xffffffff)
			continue
		}
		tail = append(be.AppendUint32(tail, uint32(len(b))), b...)
	}
	out := be.AppendUint64(nil, uint64(offset))
	out = be.AppendUint32(out, uint32(4+len(tail)))
	out = be.AppendUint32(out, crc32.ChecksumIEEE(tail))
	return append(out, tail...)
}

func TestDecoderReadsTheFormatsBeforeKafka011(t *testing.T) {
	inner0 := slices.Concat(oldMessage(0, 2, 0, 0, nil, []byte("c")), oldMessage(0, 4, 0, 0, []byte("k"), []byte("d")))
	inner1 := slices.Concat(oldMessage(1, 0, 0, 50, nil, []byte("e")), oldMessage(1, 2, 0, 60, nil, []byte("f")))
	set := slices.Concat(
		oldMessage(0, 0, 0, 0, nil, []byte("a")),
		oldMessage(1, 1, 0, 40, []byte{}, nil),
		oldMessage(0, 4, 1, 0, nil, gzipped(t, inner0)),
		oldMessage(1, 9, 1, 60, nil, gzipped(t, inner1)), // the last inner one has offset 9
		oldMessage(1, 12, 1|attrLogAppendTime, 70, nil, gzipped(t, inner1)),
		kafkatest.Batch{Base: 13, Records: []int{0}}.Bytes(),
	)
	d := NewDecoder("t", 0, 1, true, &Epochs{}, &buffer.Pool{})
	whole, next, _, err := Scan(set, 1)
	if err != nil || next != 14 || len(whole) != len(set) {
		t.Fatalf("next %d, %d bytes of %d, %v", next, len(whole), len(set), err)
	}
	d.Load(whole, nil)
	var b source.Batch
	b.MaxMessages, b.MaxBytes = 100, 1000
	if err := d.Fill(&b); err != nil {
		t.Fatal(err)
	}
	if want := []int64{1, 2, 4, 7, 9, 10, 12, 13}; !slices.Equal(offsetsOf(b.Messages), want) {
		t.Fatalf("offsets %v, want %v", offsetsOf(b.Messages), want)
	}
	m := b.Messages
	if m[0].Key == nil || m[0].Value != nil || m[0].Time != time.UnixMilli(40).UTC() || !m[1].Time.IsZero() || string(m[2].Key) != "k" ||
		m[3].Time != time.UnixMilli(50).UTC() || m[5].Time != time.UnixMilli(70).UTC() || string(m[6].Value) != "f" {
		t.Errorf("messages %+v", m)
	}
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	out, err := gzipBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func gzipBytes(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

// Kafka's Java client refuses these sets too, except that it drops a part of a message at the end.
func TestDecoderRefusesCompressedSetsThatAreIncomplete(t *testing.T) {
	whole := slices.Concat(oldMessage(1, 0, 0, 50, nil, []byte("a")), oldMessage(1, 1, 0, 60, nil, []byte("b")))
	nested := oldMessage(1, 0, 1, 50, nil, gzipped(t, whole))
	for name, set := range map[string][]byte{
		"empty":                     gzipped(t, nil),
		"no value":                  nil,
		"part of a message":         gzipped(t, whole[:len(whole)-1]),
		"message of another format": gzipped(t, oldMessage(0, 0, 0, 0, nil, []byte("a"))),
		"compressed message":        gzipped(t, nested),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := decodeSet(oldMessage(1, 9, 1, 60, nil, set), large); err == nil {
				t.Errorf("offsets %v and no error", offsetsOf(got))
			}
		})
	}
}

// Formats 0 and 1 do not count the messages of a set, and bytes behind a compressed stream are ignored. In format 0 the set
// ends at the offset of its wrapper, so that messages missing at its end are noticed.
func TestDecoderMissesNoMessageAtTheEndOfAnOldSet(t *testing.T) {
	first, second := oldMessage(0, 5, 0, 0, nil, []byte("a")), oldMessage(0, 6, 0, 0, nil, []byte("b"))
	broken := gzipped(t, second)
	broken[2] = 0 // of the header: the compression method
	for name, set := range map[string][]byte{
		"one message":           gzipped(t, first),
		"damaged second member": slices.Concat(gzipped(t, first), broken),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeSet(oldMessage(0, 6, 1, 0, nil, set), large)
			if err == nil || len(got) > 0 {
				t.Errorf("offsets %v, %v", offsetsOf(got), err)
			}
		})
	}
	got, err := decodeSet(oldMessage(0, 6, 1, 0, nil, slices.Concat(gzipped(t, first), gzipped(t, second))), large)
	if err != nil || !slices.Equal(offsetsOf(got), []int64{5, 6}) {
		t.Errorf("offsets %v, %v", offsetsOf(got), err)
	}
}
