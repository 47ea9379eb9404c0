package records

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

const (
	codecGzip = 1 + iota
	codecSnappy
	codecLZ4
	codecZstd
)

// stream is a way to write a compressed body.
type stream struct {
	name string
	make func(content []byte) []byte
	// java says that Kafka's Java client reads them in message formats 0, 1 and 2: testdata/Read.java shows it.
	java [3]bool
	// ours says the same of the decoder, which reads more. All else is an error.
	ours [3]bool
}

var (
	all  = [3]bool{true, true, true}
	v2   = [3]bool{false, false, true}
	v0   = [3]bool{true, false, false}
	none [3]bool
)

func TestDecoderReadsStreamsAsTheJavaClientDoes(t *testing.T) {
	zeros, junk := make([]byte, 8), []byte("trailing garbage, longer than any header of a stream")
	emptyBlock := []byte{0, 0, 0, 0x80} // of LZ4
	for codec, streams := range map[int16][]stream{
		codecGzip: {
			{"plain", gz, all, all},
			{"two members", inTwo(gz, gz), all, all},
			{"three members, one empty", func(b []byte) []byte { return join(gz(b[:7]), gz(nil), gz(b[7:])) }, all, all},
			{"zeros behind", behind(gz, zeros), all, all},
			{"many zeros behind", behind(gz, make([]byte, 10_000)), all, all},
			{"junk behind", behind(gz, junk), all, all},
			{"one byte behind", behind(gz, []byte{0x1f}), all, all},
			{"magic behind", behind(gz, []byte{0x1f, 0x8b, 8}), all, all},
			{"junk behind two members", behind(inTwo(gz, gz), junk), all, all},
			{"half a header behind", behind(gz, gz(nil)[:9]), all, all},
			{"half an empty member behind", behind(gz, gz(nil)[:18]), all, all},
			{"half a member behind", behind(gz, gz(junk)[:40]), none, none},
			{"wrong checksum", damaged(gz, -8), none, none},
			{"wrong length", damaged(gz, -4), none, none},
			{"no trailer", cut(gz, 8), none, none},
			{"cut", cut(gz, 12), none, none},
		},
		codecSnappy: {
			{"plain", xerial, all, all},
			{"no frame", snap, all, all},
			{"two streams", inTwo(xerial, xerial), all, all},
			{"three streams, one empty", func(b []byte) []byte { return join(xerial(b[:7]), xerial(nil), xerial(b[7:])) }, all, all},
			{"little-endian versions", func(b []byte) []byte { return join(xerial(b)[:8], []byte{1, 0, 0, 0, 1, 0, 0, 0}, xerial(b)[16:]) }, all, all},
			{"many blocks", func(b []byte) []byte { return join(xerial(b[:1]), xerial(b[1:2])[16:], xerial(b[2:])[16:]) }, all, all},
			{"an empty block", func(b []byte) []byte { return join(xerial(b[:9]), xerial(nil)[16:], xerial(b[9:])[16:]) }, all, all},
			{"an empty block at the end", behind(xerial, []byte{0, 0, 0, 1, 0}), all, all},
			{"a header behind", behind(xerial, xerial(nil)[:16]), all, all},
			{"half a header behind", behind(xerial, xerial(nil)[:9]), none, none},
			{"three bytes behind", behind(xerial, zeros[:3]), all, all},
			{"a second header that is damaged", func(b []byte) []byte { return join(xerial(b[:9]), damagedAt(xerial, 6)(b[9:])) }, all, all},
			{"a header of another format behind", behind(xerial, join([]byte("\x82SNAP"), junk)), none, none},
			{"zeros behind", behind(xerial, zeros), none, none},
			{"junk behind", behind(xerial, junk), none, none},
			{"stream behind no frame", func(b []byte) []byte { return join(snap(b[:9]), xerial(b[9:])) }, none, none},
			{"junk behind no frame", behind(snap, junk), none, none},
			{"cut", cut(xerial, 1), none, none},
		},
		codecLZ4: {
			{"plain", lz4Frames(), all, all},
			{"old checksum", oldSum(lz4Frames()), v0, all},
			{"any checksum", damagedAt(lz4Frames(), 6), v0, all},
			{"content size", lz4Sized, all, all},
			{"content size, any checksum", damagedAt(lz4Sized, 14), v0, all},
			{"block checksums", lz4Frames(lz4.BlockChecksumOption(true)), all, all},
			{"content checksum", lz4Frames(lz4.ChecksumOption(true)), all, all},
			{"wrong content checksum", damaged(lz4Frames(lz4.ChecksumOption(true)), -1), all, all},
			{"blocks of 4 MiB", lz4Frames(lz4.BlockSizeOption(lz4.Block4Mb)), all, all},
			{"stored block", lz4Stores, all, all},
			{"two frames", inTwo(lz4Frames(), lz4Frames()), none, all},
			{"old checksums of two frames", inTwo(oldSum(lz4Frames()), oldSum(lz4Frames())), none, all},
			{"zeros behind", behind(lz4Frames(), zeros), all, all},
			{"three bytes behind", behind(lz4Frames(), zeros[:3]), all, all},
			{"junk behind", behind(lz4Frames(), junk), all, all},
			{"magic behind", behind(lz4Frames(), []byte{4, 0x22, 0x4d, 0x18}), all, v2},
			{"damaged frame behind", behind(lz4Frames(), damagedAt(lz4Frames(), 8)(junk)), all, v2},
			{"frame of other content behind", behind(lz4Frames(), lz4Frames()(junk)), all, v2},
			{"frame to skip behind", behind(lz4Frames(), []byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9}), all, all},
			{"frame to skip before", func(b []byte) []byte { return join([]byte{0x5f, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9}, lz4Frames()(b)) }, none, all},
			{"empty stored block as end mark", behind(cut(lz4Frames(), 4), emptyBlock), all, all},
			{"empty stored block and content checksum", behind(cut(lz4Frames(lz4.ChecksumOption(true)), 8), join(emptyBlock, zeros[:4])), all, all},
			{"blocks behind an empty stored block", func(b []byte) []byte { return join(cut(lz4Frames(), 4)(b[:7]), emptyBlock, lz4Frames()(b[7:])[7:]) }, none, none},
			{"no end mark", cut(lz4Frames(), 4), none, none},
			{"cut", cut(lz4Frames(), 9), none, none},
			{"header alone", func([]byte) []byte { return lz4Frames()(nil)[:7] }, none, none},
			{"nothing", func([]byte) []byte { return lz4Frames()(nil) }, none, none},
		},
		codecZstd: {
			{"plain", zs, v2, all},
			{"two frames", inTwo(zs, zs), v2, all},
			{"frame to skip before", func(b []byte) []byte { return join([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9}, zs(b)) }, v2, all},
			{"frame to skip behind", behind(zs, []byte{0x5f, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9}), v2, all},
			{"frame to skip between", func(b []byte) []byte { return join(zs(b[:7]), []byte{0x51, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, zs(b[7:])) }, v2, all},
			{"empty frame behind", behind(zs, zs(nil)), v2, all},
			{"three bytes behind", behind(zs, zeros[:3]), none, none},
			{"zeros behind", behind(zs, zeros), none, none},
			{"junk behind", behind(zs, junk), none, none},
			{"cut", cut(zs, 1), none, none},
		},
	} {
		for _, s := range streams {
			for format := range 3 {
				name := fmt.Sprintf("codec %d, format %d, %s", codec, format, s.name)
				t.Run(name, func(t *testing.T) {
					set := compressedSet(format, codec, s.make)
					dump(t, fmt.Sprintf("%v %s", s.java[format], name), set)
					for _, piece := range []int{large, 16} {
						check(t, s.ours[format], set, piece)
					}
				})
			}
		}
	}
}

// check decodes a set in pieces.
func check(t *testing.T, readable bool, set []byte, piece int) {
	t.Helper()
	got, err := decodeSet(set, piece)
	switch {
	case !readable:
		if err == nil {
			t.Errorf("pieces of %d bytes: offsets %v and no error", piece, offsetsOf(got))
		}
	case err != nil || !slices.Equal(offsetsOf(got), []int64{5, 6, 7}):
		t.Errorf("pieces of %d bytes: offsets %v, %v", piece, offsetsOf(got), err)
	case string(got[0].Value) != "first" || string(got[2].Key) != "k" || len(got[1].Value) != 500:
		t.Errorf("pieces of %d bytes: messages %+v", piece, got)
	}
}

// compressedSet returns a batch, or a message of an older format, with offsets 5 to 7.
func compressedSet(format int, codec int16, compress func([]byte) []byte) []byte {
	values := [][]byte{[]byte("first"), bytes.Repeat([]byte("long"), 125), []byte("third")}
	var body []byte
	for i, v := range values {
		switch format {
		case 0:
			body = append(body, oldMessage(0, int64(5+i), 0, 0, []byte("k"), v)...)
		case 1:
			body = append(body, oldMessage(1, int64(i), 0, 77, []byte("k"), v)...)
		default:
			body = append(body, kafkatest.Record(i, []byte("k"), v)...)
		}
	}
	if format < 2 {
		return oldMessage(int8(format), 7, byte(codec), 77, nil, compress(body))
	}
	return kafkatest.Batch{Base: 5, Last: 2, Count: 3, Attrs: codec, Producer: -1, Body: compress(body)}.Bytes()
}

func decodeSet(set []byte, piece int) ([]keystrand.Message, error) {
	whole, _, _, err := Scan(set, 0)
	if err != nil || len(whole) != len(set) {
		return nil, fmt.Errorf("%d of %d bytes: %w", len(whole), len(set), err)
	}
	d := NewDecoder("t", 0, 0, true, &Epochs{}, &buffer.Pool{})
	d.piece = piece
	d.Load(whole, nil)
	b := source.Batch{MaxMessages: 1000, MaxBytes: 1 << 20}
	for !d.Empty() {
		if err := d.Fill(&b); err != nil {
			return b.Messages, err
		}
	}
	return b.Messages, nil
}

// dump writes a set for testdata/Read.java.
func dump(t *testing.T, name string, set []byte) {
	t.Helper()
	if dir := os.Getenv("KEYSTRAND_DUMP"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "_")), []byte(hex.EncodeToString(set)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

func inTwo(f, g func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte { return join(f(b[:len(b)/2]), g(b[len(b)/2:])) }
}

func behind(f func([]byte) []byte, more []byte) func([]byte) []byte {
	return func(b []byte) []byte { return join(f(b), more) }
}

func cut(f func([]byte) []byte, n int) func([]byte) []byte {
	return func(b []byte) []byte { out := f(b); return out[:len(out)-n] }
}

// damaged changes a byte, counted from the end.
func damaged(f func([]byte) []byte, at int) func([]byte) []byte {
	return func(b []byte) []byte { out := f(b); out[len(out)+at] ^= 0x5a; return out }
}

func damagedAt(f func([]byte) []byte, at int) func([]byte) []byte {
	return func(b []byte) []byte { out := f(b); out[at] ^= 0x5a; return out }
}

// oldSum sets the checksum of the header as Kafka before 0.10 wrote it: over the magic too.
func oldSum(f func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte {
		out := f(b)
		if out[4] != 0x60 || out[5] != 0x40 || out[6] != 0x82 {
			panic(fmt.Sprintf("header is %x", out[4:7]))
		}
		out[6] = 0x1a
		return out
	}
}

func gz(b []byte) []byte { return must(gzipBytes(b)) }

func snap(b []byte) []byte { return snappy.Encode(nil, b) }

func xerial(b []byte) []byte {
	block := snap(b)
	out := append([]byte("\x82SNAPPY\x00"), 0, 0, 0, 1, 0, 0, 0, 1)
	return append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
}

// lz4Frames returns frames as Kafka's clients write them, but for the options.
func lz4Frames(opts ...lz4.Option) func([]byte) []byte {
	return func(b []byte) []byte {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		must(0, w.Apply(append([]lz4.Option{lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)}, opts...)...))
		must(w.Write(b))
		must(0, w.Close())
		return out.Bytes()
	}
}

func lz4Sized(b []byte) []byte { return lz4Frames(lz4.SizeOption(uint64(len(b))))(b) }

// lz4Stores returns a frame with one block that is not compressed.
func lz4Stores(b []byte) []byte {
	out := []byte{4, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(b))|1<<31)
	return append(append(out, b...), 0, 0, 0, 0)
}

func zs(b []byte) []byte {
	w := must(zstd.NewWriter(nil))
	defer w.Close() //nolint:errcheck // it writes nothing
	return w.EncodeAll(b, nil)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Whatever a body holds, the decoder returns all records of the batch or an error.
func FuzzDamagedStreamIsWholeOrAnError(f *testing.F) {
	for codec, compress := range map[int16]func([]byte) []byte{codecGzip: gz, codecSnappy: xerial, codecLZ4: lz4Frames(), codecZstd: zs} {
		for at := range 40 {
			f.Add(codec, uint16(3*at), byte(at+1), []byte{}, compress(nil))
		}
		f.Add(codec, uint16(0), byte(0), compress([]byte("more")), compress(nil))
	}
	f.Fuzz(func(t *testing.T, codec int16, at uint16, flip byte, more, alone []byte) {
		codec &= attrCodec
		compress, known := map[int16]func([]byte) []byte{codecGzip: gz, codecSnappy: xerial, codecLZ4: lz4Frames(), codecZstd: zs}[codec]
		if !known {
			return
		}
		damage := func(b []byte) []byte {
			out := compress(b)
			out[int(at)%len(out)] ^= flip
			return append(out, more...)
		}
		for _, piece := range []int{large, 16} {
			if got, err := decodeSet(compressedSet(2, codec, damage), piece); err == nil && !slices.Equal(offsetsOf(got), []int64{5, 6, 7}) {
				t.Errorf("offsets %v and no error", offsetsOf(got))
			}
			for format := range 3 {
				_, _ = decodeSet(compressedSet(format, codec, damage), piece)
				got, err := decodeSet(compressedSet(format, codec, func([]byte) []byte { return alone }), piece)
				if err == nil && len(got) == 0 {
					t.Error("no message and no error")
				}
			}
		}
	})
}
