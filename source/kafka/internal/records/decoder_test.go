package records

import (
	"bytes"
	"slices"
	"testing"
	"unsafe" //nolint:depguard // addresses are compared, never followed

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// decodeAll runs a record set through Scan and a decoder, in steps of the limits given, and checks what must hold for
// any bytes: no panic, ascending offsets, a position that is behind what was returned and never goes back.
func decodeAll(t interface{ Fatalf(string, ...any) }, set []byte, aborted []Aborted, from int64, messages, size int) ([]keystrand.Message, int64, error) {
	d := NewDecoder("t", 0, from, true, &Epochs{}, &buffer.Pool{})
	whole, next, _, damage := Scan(set, from)
	if next < from {
		t.Fatalf("scan went back from %d to %d", from, next)
	}
	d.Load(whole, aborted)
	var all []keystrand.Message
	for !d.Empty() {
		b := source.Batch{MaxMessages: messages, MaxBytes: size}
		before := d.next
		err := d.Fill(&b)
		total := 0
		for _, m := range b.Messages {
			if m.Offset < before || len(all) > 0 && m.Offset <= all[len(all)-1].Offset {
				t.Fatalf("offset %d after position %d", m.Offset, before)
			}
			all = append(all, m)
			total += m.Size()
		}
		if len(b.Messages) > messages || total > size && len(b.Messages) > 1 {
			t.Fatalf("%d messages of %d bytes, limits %d and %d", len(b.Messages), total, messages, size)
		}
		if len(all) > 0 && d.next <= all[len(all)-1].Offset || d.next < before {
			t.Fatalf("position %d after %d", d.next, before)
		}
		if err != nil {
			return all, d.next, err
		}
	}
	if damage == nil && d.next != next {
		t.Fatalf("the position is %d, the batches end before %d", d.next, next)
	}
	return all, d.next, damage
}

// Seed corpus: good batches of each kind, damaged ones.
func FuzzDecoderNeverPanicsAndKeepsOrder(f *testing.F) {
	add := func(parts ...[]byte) { f.Add(slices.Concat(parts...), int64(0), true) }
	good := kafkatest.Batch{Base: 3, Last: 9, Records: []int{0, 2, 9}, Epoch: 2, Producer: 4, Attrs: kafkatest.AttrTransactional}
	add(good.Bytes(), kafkatest.Marker(13, 4, false).Bytes(), kafkatest.Batch{Base: 14, Last: 3}.Bytes())
	add(oldMessage(0, 0, 0, 0, nil, []byte("a")), oldMessage(1, 1, 0, 5, []byte("k"), nil), good.Bytes())
	add(kafkatest.Batch{Base: 0, Last: 1, Body: kafkatest.Record(0, nil, nil, kgo.RecordHeader{Key: "h", Value: []byte("v")}), Count: 1}.Bytes())
	for codec := compress.Gzip; codec <= compress.Zstd; codec++ {
		var out bytes.Buffer
		w := codec.Codec().NewWriter(&out)
		_, _ = w.Write(slices.Concat(kafkatest.Record(0, nil, []byte("abc")), kafkatest.Record(1, []byte("k"), nil)))
		_ = w.Close()
		add(kafkatest.Batch{Base: 0, Last: 1, Attrs: int16(codec), Body: out.Bytes(), Count: 2}.Bytes())
	}
	f.Fuzz(func(t *testing.T, set []byte, from int64, fix bool) {
		if fix && len(set) > headSize { // let the bytes come past the checksum
			kafkatest.Resum(set)
		}
		from = max(from, 0)
		_, _, _ = decodeAll(t, slices.Clone(set), []Aborted{{4, 3}}, from, 3, 50)
	})
}

// The model: a list of batches with what of each can be seen.
func TestDecoderAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set []byte
		var want []int64
		var aborted []Aborted
		end := rapid.Int64Range(0, 1000).Draw(t, "base")
		begin := end
		dead := map[int64]int64{} // producer, first offset of its open, doomed transaction
		alive := map[int64]bool{} // producers with an open transaction that commits
		var visible []int64
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			end += rapid.Int64Range(0, 3).Draw(t, "hole")
			producer := rapid.Int64Range(1, 3).Draw(t, "producer")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0: // a marker, if there is a transaction
				_, bad := dead[producer]
				if !bad && !alive[producer] {
					continue
				}
				set = append(set, kafkatest.Marker(end, producer, !bad).Bytes()...)
				delete(dead, producer)
				delete(alive, producer)
				end++
			default:
				b := kafkatest.Batch{Base: end, Producer: producer, Last: int32(rapid.IntRange(0, 5).Draw(t, "last"))}
				for d := range int(b.Last) + 1 {
					if rapid.Bool().Draw(t, "kept") {
						b.Records = append(b.Records, d)
					}
				}
				seen := true
				if rapid.Bool().Draw(t, "transactional") {
					b.Attrs = kafkatest.AttrTransactional
					_, bad := dead[producer]
					if !bad && !alive[producer] {
						if bad = rapid.Bool().Draw(t, "doomed"); bad {
							dead[producer] = end
							aborted = append(aborted, Aborted{producer, end})
						} else {
							alive[producer] = true
						}
					}
					seen = !bad
				}
				if seen {
					for _, d := range b.Records {
						visible = append(visible, end+int64(d))
					}
				}
				set = append(set, b.Bytes()...)
				end += int64(b.Last) + 1
			}
		}
		from := rapid.Int64Range(begin, end).Draw(t, "from")
		for _, o := range visible {
			if o >= from {
				want = append(want, o)
			}
		}
		got, next, err := decodeAll(t, set, rapid.Permutation(aborted).Draw(t, "aborted"), from,
			rapid.IntRange(1, 9).Draw(t, "messages"), rapid.IntRange(1, 40).Draw(t, "bytes"))
		if err != nil || !slices.Equal(offsetsOf(got), append([]int64{}, want...)) {
			t.Fatalf("offsets %v, %v, want %v", offsetsOf(got), err, want)
		}
		if len(set) > 0 && next > end {
			t.Fatalf("position %d behind the end %d", next, end)
		}
	})
}

func TestMessagesDoNotPinTheResponse(t *testing.T) {
	var set []byte
	for i := range int64(20) { // 2 MB in all
		var body []byte
		for d := range 1000 {
			body = append(body, kafkatest.Record(d, []byte("key"), make([]byte, 100))...)
		}
		set = append(set, kafkatest.Batch{Base: i * 1000, Last: 999, Body: body, Count: 1000}.Bytes()...)
	}
	set = append(set, kafkatest.Batch{Base: 20_000, Last: 1, Body: kafkatest.Record(0, []byte("large"), make([]byte, 1<<20)), Count: 1}.Bytes()...)
	got, _, err := decodeAll(t, set, nil, 0, 1<<20, 1<<30)
	if err != nil || len(got) != 20_001 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	at := func(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
	low, high := at(set), at(set)+uintptr(len(set))
	for i := range got[:20_000] {
		for _, b := range [][]byte{got[i].Key, got[i].Value} {
			if p := at(b); p >= low && p < high {
				t.Fatalf("message %d points into the response", i)
			}
			if cap(b) != len(b) {
				t.Fatalf("message %d: appending would write into its neighbor", i)
			}
		}
	}
	d := NewDecoder("t", 0, 0, true, &Epochs{}, &buffer.Pool{})
	d.Load(set, nil)
	for d.next < 20_000 {
		if err := d.Fill(&source.Batch{MaxMessages: 1}); err != nil {
			t.Fatal(err)
		}
		if cap(d.chunk) > chunkSize {
			t.Fatalf("a message pins %d bytes", cap(d.chunk))
		}
	}
}

func offsetsOf(ms []keystrand.Message) []int64 {
	os := []int64{}
	for i := range ms {
		os = append(os, ms[i].Offset)
	}
	return os
}
