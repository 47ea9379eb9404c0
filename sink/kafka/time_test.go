package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// Milliseconds since 1970 that the encoder of the client library changes in silence, and others.
var times = map[string]int64{
	"1970":                        0,
	"one millisecond":             1,
	"before 1970":                 -86400_000,
	"-2, a special value of list": -2,
	"before 1678":                 -9_300_000_000_000,
	"today":                       1_764_000_000_123,
	"2262":                        9_223_372_036_854,
	"behind 2262":                 9_223_372_036_855,
	"year 9999":                   253_402_300_799_000,
	"microseconds":                1_796_026_409_047_000,
	"nanoseconds":                 1_796_026_409_047_000_000,
	"the largest":                 math.MaxInt64,
	"the smallest":                math.MinInt64,
}

func TestTimeGoesOutAsItCameIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, kfake.SeedTopics(1, "out"))
		var sent []byte
		f.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
			q, _ := req.(*kmsg.ProduceRequest)
			sent = q.Topics[0].Partitions[0].Records
			return nil, nil, false
		})
		w := f.writer(t, "out", Config{})
		var ms []keystrand.Message
		for name, at := range times {
			ms = append(ms, keystrand.Message{Key: []byte(name), Time: time.UnixMilli(at)})
		}
		ms = append(ms, keystrand.Message{Key: []byte("none")})
		now := time.Now().UnixMilli()
		if err := w.Write(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
		if n := len(f.read(t, "out")); n != len(ms) {
			t.Errorf("%d messages are stored, want %d", n, len(ms))
		}
		for key, got := range timesOf(t, sent) { // the Go clients wrap around when they read them
			want, ok := times[key]
			if !ok {
				want = now // no time: that of writing
			}
			if got != want {
				t.Errorf("%s: %d is written, want %d", key, got, want)
			}
		}
	})
}

// timesOf returns the time of each key in an uncompressed batch.
func timesOf(t *testing.T, batch []byte) map[string]int64 {
	t.Helper()
	var b kmsg.RecordBatch
	if err := b.ReadFrom(batch); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]int64)
	for left := b.Records; len(left) > 0; {
		size, n := binary.Varint(left)
		var r kmsg.Record
		if err := r.ReadFrom(left[:n+int(size)]); err != nil {
			t.Fatal(err)
		}
		all[string(r.Key)] = b.FirstTimestamp + r.TimestampDelta64
		left = left[n+int(size):]
	}
	if len(all) != int(b.NumRecords) {
		t.Errorf("%d records, but the batch says %d", len(all), b.NumRecords)
	}
	return all
}

func TestBatchHasItsLargestTime(t *testing.T) {
	for _, at := range [][]int64{{-5, -3, -4}, {5, 9, 7}, {math.MinInt64, math.MaxInt64}} {
		var ms []keystrand.Message
		var batch []int
		for i, x := range at {
			ms, batch = append(ms, keystrand.Message{Time: time.UnixMilli(x)}), append(batch, i)
		}
		b := encode(t, ms, nil, batch)
		largest := int64(0)
		for _, x := range b[35:43] {
			largest = largest<<8 | int64(x)
		}
		if want := at[1]; largest != want {
			t.Errorf("times %v: the batch says %d, want %d", at, largest, want)
		}
	}
}

// A time that Kafka cannot hold is a permanent error that names the message. The others are stored.
func TestTimeThatKafkaCannotHoldNamesItsMessage(t *testing.T) {
	for name, at := range map[string]time.Time{
		"no time, for Kafka": time.UnixMilli(-1),
		"too late":           time.Unix(math.MaxInt64/1000+1, 0),
		"just too late":      time.UnixMilli(math.MaxInt64).Add(time.Millisecond),
		"too early":          time.Unix(math.MinInt64/1000-1, 0),
		"just too early":     time.UnixMilli(math.MinInt64).Add(-time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, kfake.SeedTopics(1, "out"))
				w := f.writer(t, "out", Config{})
				err := w.Write(t.Context(), []keystrand.Message{
					{Key: []byte("bad"), Time: at, Stream: "orders", Partition: 3, Offset: 42}, {Key: []byte("good"), Time: time.UnixMilli(7)},
				})
				p, ok := errors.AsType[*sink.PartialError](err)
				if !ok || p.Errs[1] != nil {
					t.Fatalf("error: %v", err)
				}
				if o, _ := keystrand.OutcomeOf(p.Errs[0]); o != keystrand.OutcomePermanent || !errors.Is(p.Errs[0], kafka.InvalidTimestamp) ||
					!strings.Contains(fmt.Sprint(p.Errs[0]), "orders/3@42") {
					t.Errorf("error: %v", p.Errs[0])
				}
			})
		})
	}
}
