package fetch

import (
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

func TestOldestBrokersAreSpokenTo(t *testing.T) {
	for name, v := range map[string]int16{"fetch 4": 4, "fetch 6": 6, "fetch 8": 8, "fetch 10": 10, "fetch 11": 11, "fetch 12": 12} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vs := fetchBelow(v + 1)
				vs.SetMaxKeyVersion(int16(kmsg.Metadata), v) // 4 to 12, by chance the same range
				vs.SetMaxKeyVersion(int16(kmsg.ListOffsets), min(2+v/4, 5))
				k := newBroker(t, kfake.SeedTopics(1, "t"), kfake.MaxVersions(vs))
				kafkatest.Produce(t, k.Producer(t), 20)
				if got, err := readTo(t, newReader(t, k.cfg, 5), 20); err != nil || len(got) != 15 {
					t.Errorf("%d messages, %v", len(got), err)
				}
				end, err := k.cfg.Cluster.Offsets(t.Context(), "t", map[int32]metadata.Query{0: {Latest: true}})
				if err != nil || end[0] != 20 {
					t.Errorf("end %v, %v", end, err)
				}
			})
		})
	}
}

// fetchBelow makes a broker that knows fetch requests below a version only.
func fetchBelow(version int16) *kversion.Versions {
	v := kversion.Tip()
	v.SetMaxKeyVersion(int16(kmsg.Fetch), version-1)
	return v
}
