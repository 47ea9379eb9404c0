package records

import (
	"math"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// The zero time.Time is a time that a record can have. In a message it would mean no time, and a sink would write now.
func TestEveryTimeOfARecordIsATime(t *testing.T) {
	for name, ms := range map[string]int64{
		"1970":                        0,
		"-2, a special value of list": -2,
		"the first of year 1":         time.Time{}.UnixMilli(),
		"just before year 1":          time.Time{}.UnixMilli() - 1,
		"just in year 1":              time.Time{}.UnixMilli() + 1,
		"year 9999":                   253_402_300_799_000,
		"microseconds":                1_796_026_409_047_000,
		"the largest":                 math.MaxInt64,
		"the smallest":                math.MinInt64,
	} {
		for _, attrs := range []int16{0, attrLogAppendTime} {
			all, _, err := decodeAll(t, kafkatest.Batch{Attrs: attrs, Records: []int{0}, Times: [2]int64{ms, ms}}.Bytes(), nil, 0, 10, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if m := all[0]; m.Time.IsZero() || m.Time.UnixMilli() != ms || m.Time.Location() != time.UTC {
				t.Errorf("%s: %d is read as %v, %d ms", name, ms, m.Time, m.Time.UnixMilli())
			}
		}
	}
	none, _, err := decodeAll(t, kafkatest.Batch{Records: []int{0}, Times: [2]int64{-1, -1}}.Bytes(), nil, 0, 10, 1000)
	if err != nil || !none[0].Time.IsZero() {
		t.Errorf("no time is read as %v, %v", none[0].Time, err)
	}
}
