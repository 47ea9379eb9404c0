package records

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/segmentio/kafka-go/compress"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// A batch of some kilobytes can be very large when decompressed, in every partition at the same time.
func TestLargeBatchesOfManyPartitionsOccupyLittleMemory(t *testing.T) {
	const partitions, records, bound = 4, 20 << 10, 64 << 20
	var body []byte
	for i := range records {
		body = append(body, kafkatest.Record(i, nil, make([]byte, 1<<10))...)
	}
	for _, codec := range []compress.Compression{compress.Zstd, compress.Lz4, compress.Gzip, compress.Snappy} {
		t.Run(codec.String(), func(t *testing.T) {
			set := kafkatest.Batch{Last: records - 1, Count: records, Attrs: int16(codec), Producer: -1, Body: compressed(t, codec, body)}.Bytes()
			var pool buffer.Pool
			var ds []*Decoder
			for range partitions {
				d := NewDecoder("t", 0, 0, true, &Epochs{}, &pool)
				d.Load(set, nil)
				ds = append(ds, d)
			}
			before := allocated()
			for _, d := range ds {
				if b := (source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}); d.Fill(&b) != nil || len(b.Messages) != 10 {
					t.Fatalf("%d messages", len(b.Messages))
				}
			}
			if all := allocated() - before; all > bound {
				t.Errorf("%d batches of %d bytes, %d when decompressed, allocate %d, want at most %d", partitions, len(set), len(body), all, bound)
			}
			if lent := pool.Lent(); lent < partitions*large || lent > bound {
				t.Errorf("%d bytes are lent, want at least %d, at most %d", lent, partitions*large, bound)
			}
			for _, d := range ds {
				for n := 10; !d.Empty(); {
					b := source.Batch{MaxMessages: 1000, MaxBytes: 1 << 20}
					if err := d.Fill(&b); err != nil {
						t.Fatal(err)
					}
					for i := range b.Messages {
						if m := &b.Messages[i]; m.Offset != int64(n) || len(m.Value) != 1<<10 {
							t.Fatalf("offset %d with %d bytes, want %d", m.Offset, len(m.Value), n)
						}
						n++
					}
				}
				if d.Next() != records {
					t.Errorf("the position is %d", d.Next())
				}
			}
			if n := pool.Lent(); n != 0 {
				t.Errorf("%d bytes are lent after all came back", n)
			}
		})
	}
}

// The value of a message is allocated once, and nothing else of its size.
func TestLongRecordIsDecompressedInPlace(t *testing.T) {
	const size = 16 << 20
	set := kafkatest.Batch{Count: 1, Attrs: codecGzip, Producer: -1, Body: gz(kafkatest.Record(0, []byte("k"), make([]byte, size)))}.Bytes()
	d := NewDecoder("t", 0, 0, true, &Epochs{}, &buffer.Pool{})
	d.Load(set, nil)
	before := allocated()
	var b source.Batch
	if err := d.Fill(&b); err != nil || len(b.Messages) != 1 || len(b.Messages[0].Value) != size || !d.Empty() {
		t.Fatalf("%d messages: %v", len(b.Messages), err)
	}
	if all := allocated() - before; all > size+size/2 {
		t.Errorf("a record of %d bytes allocates %d", size, all)
	}
}

// The length of a record is believed as far as the compressed bytes can hold it.
func TestDamagedLengthAllocatesLittle(t *testing.T) {
	body := append([]byte{0xfe, 0xff, 0xff, 0xff, 0x07}, make([]byte, 2*large)...) // 1 GiB
	for codec, compress := range map[int16]func([]byte) []byte{codecGzip: gz, codecSnappy: xerial, codecLZ4: lz4Frames(), codecZstd: zs} {
		set := kafkatest.Batch{Count: 1, Attrs: codec, Producer: -1, Body: compress(body)}.Bytes()
		before := allocated()
		if _, err := decodeSet(set, large); err == nil {
			t.Errorf("codec %d: no error", codec)
		}
		if all := allocated() - before; all > 64<<20 {
			t.Errorf("codec %d: %d bytes are allocated", codec, all)
		}
	}
}

// A partition may be released within a batch. Its decompressor is used again, by any partition.
func TestBatchThatIsDroppedLeavesItsDecompressorToOthers(t *testing.T) {
	records := func(value []byte) (body []byte) {
		for i := range 100 {
			body = append(body, kafkatest.Record(i, nil, value)...)
		}
		return body
	}
	for codec, writers := range map[int16][]func([]byte) []byte{
		codecGzip: {gz}, codecSnappy: {xerial}, codecLZ4: {lz4Frames()},
		codecZstd: {zs, zstdWindow, inTwo(zstdWindow, zstdWindow), zstdFlushed, zstdStreamed(64 << 10)},
	} {
		for i, write := range writers {
			synctest.Test(t, func(t *testing.T) { // a decompressor that waits fails the test
				set := func(body []byte) []byte {
					return kafkatest.Batch{Last: 99, Count: 100, Attrs: codec, Producer: -1, Body: write(body)}.Bytes()
				}
				large, small := set(records(make([]byte, 4000))), set(records([]byte("v")))
				var pool buffer.Pool
				for round := range 20 {
					d := NewDecoder("t", 0, 0, true, &Epochs{}, &pool)
					d.piece = 1000
					d.Load(large, nil)
					if b := (source.Batch{MaxMessages: 1}); d.Fill(&b) != nil || len(b.Messages) != 1 {
						t.Fatalf("codec %d, writer %d: %d messages", codec, i, len(b.Messages))
					}
					d.Drop()
					d = NewDecoder("t", 0, 0, true, &Epochs{}, &pool)
					d.Load(small, nil)
					b := source.Batch{MaxMessages: 1000, MaxBytes: 1 << 20}
					if err := d.Fill(&b); err != nil || len(b.Messages) != 100 || pool.Lent() != 0 {
						t.Fatalf("codec %d, writer %d, round %d: %d messages, %d bytes are lent: %v", codec, i, round, len(b.Messages), pool.Lent(), err)
					}
				}
			})
		}
	}
}

// Levels 20 to 22 of zstd name windows of 32 to 128 MiB, whatever the batch needs.
func TestWindowLargerThanTheBatchIsNotAllocated(t *testing.T) {
	const size = 3 << 20
	body := kafkatest.Record(0, nil, make([]byte, size))
	set := kafkatest.Batch{Count: 1, Attrs: codecZstd, Producer: -1, Body: zstdStreamed(32 << 20)(body)}.Bytes()
	before := allocated()
	if got, err := decodeSet(set, large); err != nil || len(got) != 1 {
		t.Fatalf("%d messages: %v", len(got), err)
	}
	if all := allocated() - before; all > 8*size {
		t.Errorf("a batch of %d bytes allocates %d", size, all)
	}
}

// A frame of a few bytes may name any size.
func TestSizeThatAFrameCannotHaveIsNotAllocated(t *testing.T) {
	for name, frame := range map[string][]byte{
		"single segment": {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x20, 0x53, 0, 0, 'a'}, // 512 MiB, of 10 times 'a'
		"with a window":  {0x28, 0xb5, 0x2f, 0xfd, 0x80, 0, 0, 0, 0, 0x20, 0x53, 0, 0, 'a'},
	} {
		set := kafkatest.Batch{Count: 1, Attrs: codecZstd, Producer: -1, Body: frame}.Bytes()
		before := allocated()
		if got, err := decodeSet(set, large); err == nil {
			t.Errorf("%s: %d messages and no error", name, len(got))
		}
		if all := allocated() - before; all > 4<<20 {
			t.Errorf("%s: %d bytes are allocated", name, all)
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestDecoderReturnsTheSameRecordsInPieces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	writers := map[int16][]func([]byte) []byte{
		codecGzip:   {gz, inTwo(gz, gz), behind(gz, []byte("junk"))},
		codecSnappy: {snap, xerial, inTwo(xerial, xerial)},
		codecLZ4: {
			lz4Frames(), lz4Frames(lz4.BlockSizeOption(lz4.Block4Mb)), lz4Frames(lz4.ConcurrencyOption(1), lz4.BlockSizeOption(lz4.Block256Kb)),
			inTwo(lz4Frames(), lz4Frames()), behind(lz4Frames(), lz4Frames()([]byte("more"))), lz4InChain,
		},
		codecZstd: {zs, inTwo(zs, zs), zstdFlushed, zstdWindow, inTwo(zstdWindow, zstdWindow), zstdStreamed(1 << 10), zstdStreamed(64 << 10)},
	}
	for _, codec := range slices.Sorted(maps.Keys(writers)) {
		for i, write := range writers[codec] {
			values := make([][]byte, 1+rng.IntN(60))
			var body []byte
			values[0] = bytes.Repeat(text(rng, lz4Block), 5)
			for j := range values {
				if j > 0 {
					values[j] = text(rng, 1<<rng.IntN(16))
				}
				body = append(body, kafkatest.Record(j, nil, values[j])...)
			}
			name := fmt.Sprintf("codec %d, writer %d, %d records, %d bytes", codec, i, len(values), len(body))
			set := kafkatest.Batch{Last: int32(len(values) - 1), Count: int32(len(values)), Attrs: codec, Producer: -1, Body: write(body)}.Bytes()
			for _, piece := range []int{1000, 100_000} {
				got, err := decodeSet(set, piece)
				if err != nil || !same(got, values) {
					t.Fatalf("%s in pieces of %d: %d messages: %v", name, piece, len(got), err)
				}
			}
			short := kafkatest.Batch{Last: int32(len(values)), Count: int32(len(values)) + 1, Attrs: codec, Producer: -1, Body: write(body)}.Bytes()
			if _, err := decodeSet(short, 1000); err == nil {
				t.Fatalf("%s: a record is missing, and no error", name)
			}
		}
	}
}

func same(got []keystrand.Message, values [][]byte) bool {
	for i := range got {
		if got[i].Offset != int64(i) || i >= len(values) || !bytes.Equal(got[i].Value, values[i]) {
			return false
		}
	}
	return len(got) == len(values)
}

// text returns n bytes that can be compressed, some of them by what is far before.
func text(rng *rand.Rand, n int) []byte {
	b := make([]byte, 0, n)
	for len(b) < n {
		k := min(1+rng.IntN(3000), n-len(b))
		if len(b) > 0 && rng.IntN(2) == 0 {
			at := rng.IntN(len(b))
			b = append(b, b[at:min(len(b), at+k)]...)
			continue
		}
		for range k {
			b = append(b, byte(rng.IntN(40)))
		}
	}
	return b
}

// zstdFlushed writes many blocks.
func zstdFlushed(b []byte) []byte {
	var out bytes.Buffer
	w := must(zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(32<<10)))
	for len(b) > 0 {
		n := min(len(b), 5000)
		must(w.Write(b[:n]))
		must(0, w.Flush())
		b = b[n:]
	}
	must(0, w.Close())
	return out.Bytes()
}

// zstdWindow writes a frame of one segment: its window is all of it.
func zstdWindow(b []byte) []byte {
	w := must(zstd.NewWriter(nil, zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false)))
	defer w.Close() //nolint:errcheck // it writes nothing
	return w.EncodeAll(b, nil)
}

// zstdStreamed returns a writer of frames that do not name their size.
func zstdStreamed(window int) func([]byte) []byte {
	return func(b []byte) []byte {
		var out bytes.Buffer
		w := must(zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window)))
		must(w.Write(b))
		must(0, w.Close())
		return out.Bytes()
	}
}

const lz4Block = 60_000

// lz4InChain writes blocks that refer to the blocks before, as some clients do.
func lz4InChain(b []byte) []byte {
	out := []byte{4, 0x22, 0x4d, 0x18, 0x40, 0x40, 0}
	var before []byte
	for len(b) > 0 {
		n := min(len(b), lz4Block)
		block := lz4Repeat(before, b[:n])
		out = append(append(out, byte(len(block)), byte(len(block)>>8), byte(len(block)>>16), 0), block...)
		before, b = b[:n], b[n:]
	}
	return append(out, 0, 0, 0, 0)
}

// lz4Repeat returns a block with one copy of 8 bytes of the block before, if its first bytes are there, and literals.
func lz4Repeat(before, b []byte) []byte {
	var out []byte
	if at := bytes.LastIndex(before, b[:min(8, len(b))]); at >= 0 && len(b) > 32 {
		offset := len(before) - at
		out = append(out, 0x04, byte(offset), byte(offset>>8))
		b = b[8:]
	}
	out = append(out, 0xf0)
	n := len(b) - 15
	if n < 0 {
		out[len(out)-1] = byte(len(b) << 4)
		return append(out, b...)
	}
	for ; n >= 255; n -= 255 {
		out = append(out, 255)
	}
	return append(append(out, byte(n)), b...)
}
