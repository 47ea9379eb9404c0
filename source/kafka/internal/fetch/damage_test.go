package fetch

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand/source"
)

// resum gives changed batch bytes a checksum that fits.
func resum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], castagnoli))
	return b
}

// Client.Fetch drops the whole response for one damaged batch, and tells no offset.
func TestReaderStopsAtDamagedDataAndReturnsWhatIsBefore(t *testing.T) {
	good := raw{base: 100, last: 9, records: []int{0, 1, 2}}
	for name, c := range map[string]struct {
		batch []byte
		what  string
		at    int64 // where the position stands
		extra int   // messages of the batch before the damage
	}{
		"checksum":             {func() []byte { b := good.bytes(); b[len(b)-1] ^= 1; return b }(), "checksum", 100, 0},
		"unknown codec":        {resum(raw{base: 100, last: 9, attrs: 6, body: []byte("xyz"), count: 3}.bytes()), "codec 6", 100, 0},
		"broken gzip":          {raw{base: 100, last: 9, attrs: 1, body: []byte("xyz"), count: 3}.bytes(), "gzip", 100, 0},
		"broken snappy":        {raw{base: 100, last: 9, attrs: 2, body: []byte("\xff\xff\xff\xff\xff"), count: 3}.bytes(), "snappy", 100, 0},
		"broken lz4":           {raw{base: 100, last: 9, attrs: 3, body: []byte("xyzxyzxyz"), count: 3}.bytes(), "lz4", 100, 0},
		"broken zstd":          {raw{base: 100, last: 9, attrs: 4, body: []byte("xyzxyzxyz"), count: 3}.bytes(), "zstd", 100, 0},
		"record too far":       {raw{base: 100, last: 9, records: []int{0, 10}}.bytes(), "offset is 110", 101, 1},
		"records that go back": {raw{base: 100, last: 9, records: []int{3, 2}}.bytes(), "offset is 102", 104, 1},
		"too few records":      {raw{base: 100, last: 9, body: record(0, nil, nil), count: 2}.bytes(), "lacks its last 1", 101, 1},
		"too many records":     {raw{base: 100, last: 9, body: slices.Concat(record(0, nil, nil), record(1, nil, nil)), count: 1}.bytes(), "behind its last", 101, 1},
		"cut record":           {raw{base: 100, last: 9, body: record(0, nil, []byte("abc"))[:8], count: 1}.bytes(), "record", 100, 0},
		"negative count":       {raw{base: 100, last: 9, body: []byte{}, count: -5}.bytes(), "-5 records", 100, 0},
		"huge count":           {raw{base: 100, last: 9, body: []byte{}, count: 1 << 30}.bytes(), "lacks", 100, 0},
		"negative delta":       {raw{base: 100, last: -2, records: []int{0}}.bytes(), "-2 above", 100, 0},
		"unknown format":       {func() []byte { b := good.bytes(); b[atMagic] = 3; return b }(), "format 3", 100, 0},
		"absurd length":        {func() []byte { b := good.bytes(); binary.BigEndian.PutUint32(b[atLength:], 5); return b }(), "5 bytes", 100, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				before := raw{base: 90, last: 9, records: []int{0, 5}}.bytes()
				k.serve(func(offset int64, _ int32) answer {
					if offset < 100 {
						return answer{set: append(slices.Clone(before), c.batch...), end: 120}
					}
					return answer{set: c.batch, end: 120}
				})
				got, err := readTo(t, newReader(t, k.cfg, 90), 120)
				var corrupt *CorruptError
				if !errors.As(err, &corrupt) || corrupt.Offset != c.at || corrupt.Topic != "t" || !strings.Contains(err.Error(), c.what) {
					t.Fatalf("error %v", err)
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
		k.serve(func(offset int64, _ int32) answer {
			b := raw{base: offset, last: 0, records: []int{0}}.bytes()
			if n++; n%2 == 1 {
				b[len(b)-1] ^= 1 // on the way
			}
			return answer{set: b, end: 10}
		})
		if got, err := readTo(t, newReader(t, k.cfg, 0), 10); err != nil || len(got) != 10 {
			t.Errorf("offsets %v, %v", offsetsOf(got), err)
		}
	})
}

func TestReaderIgnoresABatchThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.serve(func(offset int64, _ int32) answer {
			a := answer{end: 30}
			for o := offset; o < min(offset+2, 30); o++ {
				a.set = append(a.set, raw{base: o, records: []int{0}}.bytes()...)
			}
			cut := raw{base: 99, last: 5, records: []int{0}}.bytes()
			a.set = append(a.set, cut[:int(offset)*len(cut)/30]...)
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
		k.serve(func(offset int64, maxBytes int32) answer {
			b := raw{base: offset, records: []int{0}, value: strings.Repeat("x", 10_000)}.bytes()
			return answer{set: b[:min(len(b), int(maxBytes))], end: 3}
		})
		if got, err := readTo(t, newReader(t, k.cfg, 0), 3); err != nil || len(got) != 3 {
			t.Errorf("offsets %v, %v", offsetsOf(got), err)
		}
	})
}

func TestReaderTakesTheBrokersTimeWhereTheTopicSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.serveLog(4, 0,
			raw{base: 0, last: 1, records: []int{0, 1}, times: [2]int64{1000, 5000}, attrs: attrLogAppendTime},
			raw{base: 2, last: 1, records: []int{0, 1}, times: [2]int64{1000, 5000}})
		got, err := readTo(t, newReader(t, k.cfg, 0), 4)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int64{5000, 5000, 1000, 1001} {
			if got[i].Time != time.UnixMilli(want) {
				t.Errorf("message %d has time %v, want %d ms", i, got[i].Time, want)
			}
		}
	})
}

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

func TestReaderReadsTheFormatsBeforeKafka011(t *testing.T) {
	inner0 := slices.Concat(oldMessage(0, 2, 0, 0, nil, []byte("c")), oldMessage(0, 4, 0, 0, []byte("k"), []byte("d")))
	inner1 := slices.Concat(oldMessage(1, 0, 0, 50, nil, []byte("e")), oldMessage(1, 2, 0, 60, nil, []byte("f")))
	set := slices.Concat(
		oldMessage(0, 0, 0, 0, nil, []byte("a")),
		oldMessage(1, 1, 0, 40, []byte{}, nil),
		oldMessage(0, 4, 1, 0, nil, gzipped(t, inner0)),
		oldMessage(1, 9, 1, 60, nil, gzipped(t, inner1)), // the last inner one has offset 9
		oldMessage(1, 12, 1|attrLogAppendTime, 70, nil, gzipped(t, inner1)),
		raw{base: 13, records: []int{0}}.bytes(),
	)
	d := newDecoder("t", 0, 1, true, &epochs{}, &Buffers{})
	whole, next, _, err := scan(set, 1)
	if err != nil || next != 14 || len(whole) != len(set) {
		t.Fatalf("next %d, %d bytes of %d, %v", next, len(whole), len(set), err)
	}
	d.load(whole, nil)
	var b source.Batch
	b.MaxMessages, b.MaxBytes = 100, 1000
	if err := d.fill(&b); err != nil {
		t.Fatal(err)
	}
	if want := []int64{1, 2, 4, 7, 9, 10, 12, 13}; !slices.Equal(offsetsOf(b.Messages), want) {
		t.Fatalf("offsets %v, want %v", offsetsOf(b.Messages), want)
	}
	m := b.Messages
	if m[0].Key == nil || m[0].Value != nil || m[0].Time != time.UnixMilli(40) || !m[1].Time.IsZero() || string(m[2].Key) != "k" ||
		m[3].Time != time.UnixMilli(50) || m[5].Time != time.UnixMilli(70) || string(m[6].Value) != "f" {
		t.Errorf("messages %+v", m)
	}
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
