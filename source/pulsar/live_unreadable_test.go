package pulsar

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/source"
)

// wire is a producer that sends entries as they are: no client library writes damaged ones.
type wire struct {
	t    *testing.T
	c    net.Conn
	sent uint64
}

func varint(b []byte, field, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, field<<3), v)
}

func text(b []byte, field uint64, v string) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(b, field<<3|2), uint64(len(v))), v...)
}

func sized(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }

// wire connects a producer to a topic that the broker serves already.
func (l live) wire(t *testing.T, topic string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(l.url, "pulsar://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	w := &wire{t: t, c: c}
	w.command(2, 3, varint(text(nil, 1, "test"), 4, 19), nil)              // CONNECT
	w.command(5, 17, varint(varint(text(nil, 1, topic), 2, 0), 3, 1), nil) // PRODUCER
	return w
}

// command sends a command with this number and waits for the answer.
func (w *wire) command(number, answer uint64, body, rest []byte) {
	w.t.Helper()
	frame := append(sized(text(varint(nil, 1, number), number, string(body))), rest...)
	if _, err := w.c.Write(sized(frame)); err != nil {
		w.t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(w.c, size[:]); err != nil {
		w.t.Fatal(err)
	}
	got := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(w.c, got); err != nil {
		w.t.Fatal(err)
	}
	if len(got) < 6 || uint64(got[5]) != answer {
		w.t.Fatalf("answer %q, want command %d", got, answer)
	}
}

// send sends an entry with these fields of the metadata.
func (w *wire) send(fields []byte, payload string) {
	w.t.Helper()
	w.sent++
	meta := append(varint(varint(text(nil, 1, "wire"), 2, w.sent), 3, 1e12), fields...)
	body := append(sized(meta), payload...)
	sum := binary.BigEndian.AppendUint32([]byte{0x0e, 0x01}, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	w.command(6, 7, varint(varint(nil, 1, 0), 2, w.sent), append(sum, body...))
}

// Fields of the metadata of an entry.
const (
	compression  = 8
	uncompressed = 9
	inBatch      = 11
)

func TestLiveUnreadableMessages(t *testing.T) {
	single := string(sized(varint(nil, 3, 1))) + "x" // a message of a batch, of one byte
	for name, c := range map[string]struct {
		fields  []byte
		payload string
		says    string
	}{
		"LZ4":                     {varint(varint(nil, compression, 1), uncompressed, 100), "no lz4 block", "failed to decompress"},
		"zlib":                    {varint(varint(nil, compression, 2), uncompressed, 100), "no zlib stream", "failed to decompress"},
		"zstd":                    {varint(varint(nil, compression, 3), uncompressed, 100), "no zstd frame", "failed to decompress"},
		"snappy":                  {varint(varint(nil, compression, 4), uncompressed, 100), "\xff\xff\xff\xffno snappy", "failed to decompress"},
		"batch with less in it":   {varint(nil, inBatch, 3), single, "EOF"},
		"batch that ends early":   {varint(nil, inBatch, 1), string(sized(varint(nil, 3, 50))) + "short", "BatchDeSerializeError"},
		"batch of something else": {varint(nil, inBatch, 1), string(sized([]byte("garbage"))), "proto"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := liveBroker(t)
			topic := l.topic(t, 2)
			for n := range 2 {
				if err := send(t.Context(), l.producer(t, topic+"-partition-"+string(rune('0'+n)), nil), numbered(0, 2)...); err != nil {
					t.Fatal(err)
				}
			}
			w := l.wire(t, topic+"-partition-0")
			w.send(c.fields, c.payload)
			w.send(nil, "good")
			r := l.reader(t, l.config(t), "s", topic)
			p, q := r.accept(), r.accept()
			if p.ID().Partition != 0 {
				p, q = q, p
			}
			if got := values(read(t, p, 2)); got != "0 1" {
				t.Errorf("read %q", got)
			}
			nothing(t, p)
			settle(t, p, offsetAfter(t, p))
			err := (&member{t: t, s: r.s}).troubled("read " + topic + "/0")
			if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("trouble = %v, want %q", err, c.says)
			}
			if got := values(read(t, q, 2)); got != "0 1" {
				t.Errorf("read %q from the other partition", got)
			}
			var stats struct {
				Subscriptions map[string]struct{ MsgBacklog int }
			}
			if err := l.admin.Do(t.Context(), "GET", strings.Replace(topic, "://", "/", 1)+"-partition-0/stats?getPreciseBacklog=true", nil, &stats); err != nil {
				t.Fatal(err)
			}
			if n := stats.Subscriptions["s"].MsgBacklog; n < 2 {
				t.Errorf("backlog %d, want at least 2: the message and the one behind it", n)
			}
			release(t, p)
			release(t, q)
		})
	}
}

// offsetAfter returns the offset behind the messages that were read.
func offsetAfter(t *testing.T, p source.Partition) int64 {
	t.Helper()
	own, ok := p.(*Partition)
	if !ok {
		t.Fatalf("a partition of type %T", p)
	}
	return own.position
}
