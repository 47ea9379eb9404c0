package fetch

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// Client.Fetch drops the whole response for one damaged batch, and tells no offset.
func TestReaderStopsAtDamagedDataAndReturnsWhatIsBefore(t *testing.T) {
	good := kafkatest.Batch{Base: 100, Last: 9, Records: []int{0, 1, 2}}
	for name, c := range map[string]struct {
		batch []byte
		what  string
		at    int64 // the position afterwards
		extra int   // messages of the batch before the damage
	}{
		"checksum":             {func() []byte { b := good.Bytes(); b[len(b)-1] ^= 1; return b }(), "checksum", 100, 0},
		"unknown codec":        {kafkatest.Resum(kafkatest.Batch{Base: 100, Last: 9, Attrs: 6, Body: []byte("xyz"), Count: 3}.Bytes()), "codec 6", 100, 0},
		"broken gzip":          {kafkatest.Batch{Base: 100, Last: 9, Attrs: 1, Body: []byte("xyz"), Count: 3}.Bytes(), "gzip", 100, 0},
		"broken snappy":        {kafkatest.Batch{Base: 100, Last: 9, Attrs: 2, Body: []byte("\xff\xff\xff\xff\xff"), Count: 3}.Bytes(), "snappy", 100, 0},
		"broken lz4":           {kafkatest.Batch{Base: 100, Last: 9, Attrs: 3, Body: []byte("xyzxyzxyz"), Count: 3}.Bytes(), "lz4", 100, 0},
		"broken zstd":          {kafkatest.Batch{Base: 100, Last: 9, Attrs: 4, Body: []byte("xyzxyzxyz"), Count: 3}.Bytes(), "zstd", 100, 0},
		"record too far":       {kafkatest.Batch{Base: 100, Last: 9, Records: []int{0, 10}}.Bytes(), "offset is 110", 101, 1},
		"records that go back": {kafkatest.Batch{Base: 100, Last: 9, Records: []int{3, 2}}.Bytes(), "offset is 102", 104, 1},
		"too few records":      {kafkatest.Batch{Base: 100, Last: 9, Body: kafkatest.Record(0, nil, nil), Count: 2}.Bytes(), "lacks its last 1", 101, 1},
		"too many records":     {kafkatest.Batch{Base: 100, Last: 9, Body: slices.Concat(kafkatest.Record(0, nil, nil), kafkatest.Record(1, nil, nil)), Count: 1}.Bytes(), "behind its last", 101, 1},
		"cut record":           {kafkatest.Batch{Base: 100, Last: 9, Body: kafkatest.Record(0, nil, []byte("abc"))[:8], Count: 1}.Bytes(), "record", 100, 0},
		"negative count":       {kafkatest.Batch{Base: 100, Last: 9, Body: []byte{}, Count: -5}.Bytes(), "-5 records", 100, 0},
		"huge count":           {kafkatest.Batch{Base: 100, Last: 9, Body: []byte{}, Count: 1 << 30}.Bytes(), "lacks", 100, 0},
		"negative delta":       {kafkatest.Batch{Base: 100, Last: -2, Records: []int{0}}.Bytes(), "-2 above", 100, 0},
		"unknown format":       {func() []byte { b := good.Bytes(); b[kafkatest.AtMagic] = 3; return b }(), "format 3", 100, 0},
		"absurd length":        {func() []byte { b := good.Bytes(); binary.BigEndian.PutUint32(b[kafkatest.AtLength:], 5); return b }(), "5 bytes", 100, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				before := kafkatest.Batch{Base: 90, Last: 9, Records: []int{0, 5}}.Bytes()
				k.Serve(func(offset int64, _ int32) kafkatest.Answer {
					if offset < 100 {
						return kafkatest.Answer{Set: append(slices.Clone(before), c.batch...), End: 120}
					}
					return kafkatest.Answer{Set: c.batch, End: 120}
				})
				got, err := readTo(t, newReader(t, k.cfg, 90), 120)
				var corrupt *CorruptError
				if !errors.As(err, &corrupt) || corrupt.Offset != c.at || corrupt.Topic != "t" || !strings.Contains(err.Error(), c.what) {
					t.Fatalf("error %v", err)
				}
				head := []string{"checksum", "negative count", "negative delta", "unknown format", "absurd length"}
				if blames := strings.Contains(err.Error(), "disks"); blames != slices.Contains(head, name) {
					t.Errorf("error %v, although its checksum is right", err)
				}
				if os := offsetsOf(got); len(os) != 2+c.extra || os[0] != 90 || os[1] != 95 {
					t.Errorf("offsets %v before it", os)
				}
			})
		})
	}
}

func TestReaderAsksOnceMoreForDamagedData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		n := 0
		k.Serve(func(offset int64, _ int32) kafkatest.Answer {
			b := kafkatest.Batch{Base: offset, Last: 0, Records: []int{0}}.Bytes()
			if n++; n%2 == 1 {
				b[len(b)-1] ^= 1 // on the way
			}
			return kafkatest.Answer{Set: b, End: 10}
		})
		if got, err := readTo(t, newReader(t, k.cfg, 0), 10); err != nil || len(got) != 10 {
			t.Errorf("offsets %v, %v", offsetsOf(got), err)
		}
	})
}

func TestReaderIgnoresABatchThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.Serve(func(offset int64, _ int32) kafkatest.Answer {
			a := kafkatest.Answer{End: 30}
			for o := offset; o < min(offset+2, 30); o++ {
				a.Set = append(a.Set, kafkatest.Batch{Base: o, Records: []int{0}}.Bytes()...)
			}
			cut := kafkatest.Batch{Base: 99, Last: 5, Records: []int{0}}.Bytes()
			a.Set = append(a.Set, cut[:int(offset)*len(cut)/30]...)
			return a
		})
		if got, err := readTo(t, newReader(t, k.cfg, 0), 30); err != nil || len(got) != 30 {
			t.Errorf("offsets %v, %v", offsetsOf(got), err)
		}
	})
}

// Brokers before KIP-74 cut the first batch too when it is larger than asked for.
func TestReaderAsksForMoreWhenTheFirstBatchDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.cfg.MaxBytes = 100
		k.Serve(func(offset int64, maxBytes int32) kafkatest.Answer {
			b := kafkatest.Batch{Base: offset, Records: []int{0}, Value: strings.Repeat("x", 10_000)}.Bytes()
			return kafkatest.Answer{Set: b[:min(len(b), int(maxBytes))], End: 3}
		})
		if got, err := readTo(t, newReader(t, k.cfg, 0), 3); err != nil || len(got) != 3 {
			t.Errorf("offsets %v, %v", offsetsOf(got), err)
		}
	})
}

func TestReaderTakesTheBrokersTimeWhereTheTopicSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.ServeLog(4, 0,
			kafkatest.Batch{Base: 0, Last: 1, Records: []int{0, 1}, Times: [2]int64{1000, 5000}, Attrs: kafkatest.AttrLogAppendTime},
			kafkatest.Batch{Base: 2, Last: 1, Records: []int{0, 1}, Times: [2]int64{1000, 5000}})
		got, err := readTo(t, newReader(t, k.cfg, 0), 4)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int64{5000, 5000, 1000, 1001} {
			if got[i].Time != time.UnixMilli(want).UTC() {
				t.Errorf("message %d has time %v, want %d ms", i, got[i].Time, want)
			}
		}
	})
}
