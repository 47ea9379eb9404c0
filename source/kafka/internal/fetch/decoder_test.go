package fetch

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
)

// decodeAll runs a record set through scan and a decoder, in steps of the limits given, and checks what must hold for
// any bytes: no panic, ascending offsets, a position that is behind what was returned and never goes back.
func decodeAll(t interface{ Fatalf(string, ...any) }, set []byte, aborted []abortedTxn, from int64, messages, size int) ([]keystrand.Message, int64, error) {
	d := newDecoder("t", 0, from, true, &epochs{}, &Buffers{})
	whole, next, _, damage := scan(set, from)
	if next < from {
		t.Fatalf("scan went back from %d to %d", from, next)
	}
	d.load(whole, aborted)
	var all []keystrand.Message
	for !d.empty() {
		b := source.Batch{MaxMessages: messages, MaxBytes: size}
		before := d.next
		err := d.fill(&b)
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
	good := raw{base: 3, last: 9, records: []int{0, 2, 9}, epoch: 2, producer: 4, attrs: attrTransactional}
	add(good.bytes(), marker(13, 4, false).bytes(), raw{base: 14, last: 3}.bytes())
	add(oldMessage(0, 0, 0, 0, nil, []byte("a")), oldMessage(1, 1, 0, 5, []byte("k"), nil), good.bytes())
	add(raw{base: 0, last: 1, body: record(0, nil, nil, kgo.RecordHeader{Key: "h", Value: []byte("v")}), count: 1}.bytes())
	for codec := compress.Gzip; codec <= compress.Zstd; codec++ {
		var out bytes.Buffer
		w := codec.Codec().NewWriter(&out)
		_, _ = w.Write(slices.Concat(record(0, nil, []byte("abc")), record(1, []byte("k"), nil)))
		_ = w.Close()
		add(raw{base: 0, last: 1, attrs: int16(codec), body: out.Bytes(), count: 2}.bytes())
	}
	f.Fuzz(func(t *testing.T, set []byte, from int64, fix bool) {
		if fix && len(set) > headSize { // let the bytes come past the checksum
			resum(set)
		}
		from = max(from, 0)
		_, _, _ = decodeAll(t, slices.Clone(set), []abortedTxn{{4, 3}}, from, 3, 50)
		for _, v := range []int16{4, 7, 11, 12, 13} {
			r := reader{b: set, flexible: flexibleVersion(keyFetch, v)}
			_, _ = parseFetch(r, &fetchRequest{version: v})
		}
		for _, v := range []int16{4, 8, 9, 12} {
			_, _ = parseMetadata(reader{b: set, flexible: flexibleVersion(keyMetadata, v)}, v)
		}
	})
}

// The model: a list of batches with what of each can be seen.
func TestDecoderAgreesWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set []byte
		var want []int64
		var aborted []abortedTxn
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
				set = append(set, marker(end, producer, !bad).bytes()...)
				delete(dead, producer)
				delete(alive, producer)
				end++
			default:
				b := raw{base: end, producer: producer, last: int32(rapid.IntRange(0, 5).Draw(t, "last"))}
				for d := range int(b.last) + 1 {
					if rapid.Bool().Draw(t, "kept") {
						b.records = append(b.records, d)
					}
				}
				seen := true
				if rapid.Bool().Draw(t, "transactional") {
					b.attrs = attrTransactional
					_, bad := dead[producer]
					if !bad && !alive[producer] {
						if bad = rapid.Bool().Draw(t, "doomed"); bad {
							dead[producer] = end
							aborted = append(aborted, abortedTxn{producer, end})
						} else {
							alive[producer] = true
						}
					}
					seen = !bad
				}
				if seen {
					for _, d := range b.records {
						visible = append(visible, end+int64(d))
					}
				}
				set = append(set, b.bytes()...)
				end += int64(b.last) + 1
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
			body = append(body, record(d, []byte("key"), make([]byte, 100))...)
		}
		set = append(set, raw{base: i * 1000, last: 999, body: body, count: 1000}.bytes()...)
	}
	set = append(set, raw{base: 20_000, last: 1, body: record(0, []byte("large"), make([]byte, 1<<20)), count: 1}.bytes()...)
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
	d := newDecoder("t", 0, 0, true, &epochs{}, &Buffers{})
	d.load(set, nil)
	for d.next < 20_000 {
		if err := d.fill(&source.Batch{MaxMessages: 1}); err != nil {
			t.Fatal(err)
		}
		if cap(d.chunk) > chunkSize {
			t.Fatalf("a message pins %d bytes", cap(d.chunk))
		}
	}
}

func TestEpochsKnowTheLeaderEpochOfTheRecordBelow(t *testing.T) {
	var e epochs
	if got := e.below(100); got != -1 {
		t.Errorf("nothing read: epoch %d, want -1, never 0", got)
	}
	for offset := range int64(100) {
		e.see(10+offset, int32(offset/10)*3)
	}
	if len(e.marks) != 10 {
		t.Errorf("%d marks for 10 leaders", len(e.marks))
	}
	for _, c := range []struct {
		frontier int64
		epoch    int32
	}{{9, -1}, {10, -1}, {11, 0}, {20, 0}, {21, 3}, {50, 9}, {51, 12}, {500, 27}, {500, 27}} {
		if got := e.below(c.frontier); got != c.epoch {
			t.Errorf("frontier %d: epoch %d, want %d", c.frontier, got, c.epoch)
		}
	}
	for i := range int64(1000) {
		e.see(1000+i, int32(100+i))
	}
	if got := e.below(1500); len(e.marks) > maxMarks || got != -1 {
		t.Errorf("%d marks; a forgotten epoch is %d, want -1", len(e.marks), got)
	}
	if got := e.below(2000); got != 1099 {
		t.Errorf("epoch %d", got)
	}
}
