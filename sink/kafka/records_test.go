package kafka

import (
	"bytes"
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

func encodedSize(t *testing.T, ms []keystrand.Message, batch []int) int {
	t.Helper()
	var r records
	r.rewind(ms, nil, batch)
	var b bytes.Buffer
	rs := protocol.RecordSet{Version: 2, Records: &r}
	if _, err := rs.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Len() - 4 // without the length prefix
}

func TestRecordsReadEachRecordOnce(t *testing.T) {
	var r records
	r.rewind([]keystrand.Message{{Key: []byte("a"), Headers: []keystrand.Header{{Key: "h"}}}, {Value: []byte("b")}, {}}, map[int][]byte{2: []byte("native")}, []int{0, 1, 2})
	for i := range 3 {
		rec, err := r.ReadRecord()
		if err != nil || (rec.Key != nil) != (i == 0) || (rec.Value != nil) != (i > 0) || len(rec.Headers) != (2-i)/2 {
			t.Errorf("record %d: %+v, %v", i, rec, err)
		}
	}
	if _, err := r.ReadRecord(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v", err)
	}
}
