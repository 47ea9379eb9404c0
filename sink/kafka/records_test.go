package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/keystrand/keystrand"
)

func TestRecordSizeEqualsTheSizeOfTheEncodedRecord(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 70_000)
	for i, m := range []keystrand.Message{
		{},
		{Key: []byte("k"), Value: []byte("v")},
		{Key: long[:63], Value: long[:64]},
		{Key: long[:8191], Value: long[:8192]},
		{Value: long, Headers: []keystrand.Header{{Key: "h", Value: long[:100]}, {Key: "none"}}},
	} {
		m.Time = time.UnixMilli(1_000_000_000_000)
		late := m
		late.Time = m.Time.Add(100 * 365 * 24 * time.Hour)
		alone, bound := recordSize(&m, nil)
		one := encodedSize(t, []keystrand.Message{m}, []int{0})
		if one != batchOverhead+alone {
			t.Errorf("message %d: a batch of one has %d bytes, want %d", i, one, batchOverhead+alone)
		}
		if two := encodedSize(t, []keystrand.Message{m, late}, []int{0, 1}); two > batchOverhead+alone+bound {
			t.Errorf("message %d: a batch of two has %d bytes, more than the bound %d", i, two, batchOverhead+alone+bound)
		}
	}
}

func encode(t *testing.T, ms []keystrand.Message, values map[int][]byte, batch []int) []byte {
	t.Helper()
	var b batchBuffer
	if err := b.encode(ms, values, batch, 0, time.Now()); err != nil {
		t.Fatal(err)
	}
	return b.batch[prefix:]
}

func encodedSize(t *testing.T, ms []keystrand.Message, batch []int) int {
	t.Helper()
	return len(encode(t, ms, nil, batch))
}

func TestRecordsReadEachRecordOnce(t *testing.T) {
	b := encode(t, []keystrand.Message{{Key: []byte("a"), Headers: []keystrand.Header{{Key: "h"}}}, {Value: []byte("b")}, {}}, map[int][]byte{2: []byte("native")}, []int{0, 1, 2})
	var rs protocol.RecordSet
	if _, err := rs.ReadFrom(bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		rec, err := rs.Records.ReadRecord()
		if err != nil || (rec.Key != nil) != (i == 0) || (rec.Value != nil) != (i > 0) || len(rec.Headers) != (2-i)/2 {
			t.Errorf("record %d: %+v, %v", i, rec, err)
		}
	}
	if _, err := rs.Records.ReadRecord(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v", err)
	}
}
