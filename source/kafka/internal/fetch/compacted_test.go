package fetch

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// Conn.ReadBatch and Reader panic ("markRead: negative count", #874, #1416) on three empty batches in a row, which the
// cleaner leaves for every idempotent producer.
func TestReaderSurvivesManyEmptyBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		var bs []kafkatest.Batch
		for i := range int64(40) {
			bs = append(bs, kafkatest.Batch{Base: i * 5, Last: 4})
		}
		bs = append(bs, kafkatest.Batch{Base: 200, Last: 1, Records: []int{0, 1}}, kafkatest.Batch{Base: 202, Last: 9})
		k.ServeLog(212, 0, bs...)
		got, err := readTo(t, newReader(t, k.cfg, 0), 212)
		if want := []int64{200, 201}; err != nil || !slices.Equal(offsetsOf(got), want) {
			t.Errorf("offsets %v, %v, want %v", offsetsOf(got), err, want)
		}
	})
}

// Client.Fetch forgets the last offset delta (record_v2.go), so that a loop over it asks for ever for a batch whose
// tail was compacted away when that is all that comes.
func TestReaderPassesCompactedTails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		k.ServeLog(111, 1,
			kafkatest.Batch{Base: 0, Last: 9, Records: []int{0, 2}}, // tail gone
			kafkatest.Batch{Base: 10, Last: 89},                     // emptied
			kafkatest.Batch{Base: 100, Last: 9, Records: []int{9}},  // head gone
			kafkatest.Batch{Base: 110, Last: 0, Records: []int{0}})
		r := newReader(t, k.cfg, 0)
		got, err := readTo(t, r, 111)
		if want := []int64{0, 2, 109, 110}; err != nil || !slices.Equal(offsetsOf(got), want) {
			t.Errorf("offsets %v, %v, want %v", offsetsOf(got), err, want)
		}
	})
}

func TestReaderReadsAnyCompactedLogExactly(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) // any; printed below
	for i := range uint64(40) {
		t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, i))
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				var bs []kafkatest.Batch
				var want []int64
				end := int64(0)
				for range 12 {
					size := 1 + rng.Int64N(300)
					if rng.IntN(6) == 0 { // removed by the cleaner
						end += size
						continue
					}
					b := kafkatest.Batch{Base: end, Last: int32(size - 1)}
					if rng.IntN(4) > 0 {
						for d := range size {
							if rng.IntN(3) == 0 {
								b.Records = append(b.Records, int(d))
							}
						}
					}
					bs = append(bs, b)
					end += size
				}
				bs = append(bs, kafkatest.Batch{Base: end, Records: []int{0}})
				start := rng.Int64N(end)
				for _, b := range bs {
					for _, d := range b.Records {
						if o := b.Base + int64(d); o >= start {
							want = append(want, o)
						}
					}
				}
				k.ServeLog(end+1, rng.IntN(4), bs...)
				got, err := readTo(t, newReader(t, k.cfg, start), end+1)
				if err != nil || !slices.Equal(offsetsOf(got), want) {
					t.Errorf("seed %d %d: %v\n got %v\nwant %v", seed, i, err, offsetsOf(got), want)
				}
			})
		})
	}
}

// A broker answers with the whole batch that holds the offset; Client.Fetch returns the records below it too.
func TestReaderDropsRecordsBelowTheOffsetAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 100)
		got, err := readTo(t, newReader(t, k.cfg, 60), 100)
		if err != nil || len(got) != 40 || got[0].Offset != 60 {
			t.Errorf("offsets %v, %v", offsetsOf(got), err)
		}
	})
}
