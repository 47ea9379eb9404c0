package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// The live tests use a real Apache Kafka and wait for its real cleaner: they run with KEYSTRAND_KAFKA (one node) and
// KEYSTRAND_KAFKA3 (three nodes, for moving leaders) set to broker addresses:
//
//	tools/services/services up kafka kafka3; eval "$(tools/services/services env)"
//	go test -run TestLive ./source/kafka/internal/fetch
type live struct {
	topic string
	adm   *kadm.Client
	cfg   Config
	addrs []string
}

func newLive(t *testing.T, env string, replicas int16, settings map[string]string) *live {
	t.Helper()
	addrs := os.Getenv(env)
	if addrs == "" {
		t.Skipf("%s is not Set: tools/services/services up kafka kafka3; eval \"$(tools/services/services env)\"", env)
	}
	l := &live{topic: fmt.Sprintf("fetch-%s-%d", strings.ToLower(strings.NewReplacer("/", "-").Replace(t.Name())), time.Now().UnixNano()), addrs: strings.Split(addrs, ",")}
	tr := &kafka.Transport{MetadataTopics: []string{l.topic}, MetadataTTL: time.Second}
	l.cfg = Config{Cluster: metadata.Client{Client: wire.Client{Brokers: l.addrs, Transport: tr}}}
	cl, err := kgo.NewClient(kgo.SeedBrokers(l.addrs...))
	if err != nil {
		t.Fatal(err)
	}
	l.adm = kadm.NewClient(cl)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := l.adm.DeleteTopics(ctx, l.topic); err != nil {
			t.Log("deleting the topic:", err)
		}
		l.adm.Close()
		tr.CloseIdleConnections()
	})
	l.create(t, replicas, settings)
	return l
}

func (l *live) create(t *testing.T, replicas int16, settings map[string]string) {
	t.Helper()
	set := map[string]*string{}
	for k, v := range settings {
		set[k] = &v
	}
	for begun := time.Now(); ; {
		res, err := l.adm.CreateTopic(t.Context(), 1, replicas, set, l.topic)
		if err == nil && res.Err == nil {
			return
		}
		if time.Since(begun) > 20*time.Second { // an earlier topic of that name may still be on its way out
			t.Fatal(err, res.Err)
		}
		_ = pause.For(t.Context(), 100*time.Millisecond)
	}
}

func (l *live) client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(l.addrs...), kgo.DefaultProduceTopic(l.topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func (l *live) reader(t *testing.T, start int64) *Reader {
	t.Helper()
	r := NewReader(l.cfg, l.topic, 0, start)
	t.Cleanup(r.Close)
	return r
}

func (l *live) bounds(t *testing.T) (first, end int64) {
	t.Helper()
	for i, q := range []metadata.Query{{}, {Latest: true}} {
		got, err := l.cfg.Cluster.Offsets(t.Context(), l.topic, map[int32]metadata.Query{0: q})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = got[0]
		} else {
			end = got[0]
		}
	}
	return first, end
}

// franz reads to the end with franz-go, as the reference.
func (l *live) franz(t *testing.T, end int64) []int64 {
	t.Helper()
	cl := l.client(t, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{l.topic: {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var offsets []int64
	for ctx.Err() == nil && (len(offsets) == 0 || offsets[len(offsets)-1] < end-1) {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { offsets = append(offsets, r.Offset) })
	}
	return offsets
}

var cleaned = map[string]string{
	"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "min.compaction.lag.ms": "0",
	"max.compaction.lag.ms": "1000", "delete.retention.ms": "100",
}

func TestLiveCompactedTopicIsReadExactly(t *testing.T) {
	l := newLive(t, "KEYSTRAND_KAFKA", 1, cleaned)
	write := func(cl *kgo.Client, keys ...string) {
		var rs []*kgo.Record
		for _, k := range keys {
			rs = append(rs, &kgo.Record{Key: []byte(k), Value: []byte("v")})
		}
		if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	plain := l.client(t, kgo.ProducerLinger(20*time.Millisecond), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()))
	for i := range 20 { // long tails that the next batch overwrites; each fifth batch goes as a whole
		keys := []string{fmt.Sprintf("u%d", i)}
		for j := range 100 {
			keys = append(keys, fmt.Sprintf("x%d", j))
		}
		if i%5 == 4 {
			keys = keys[1:]
		}
		write(plain, keys...)
	}
	for range 8 { // idempotent producers whose last batches stay, emptied
		cl := l.client(t)
		write(cl, "a", "b", "c", "d", "e")
		cl.Close()
	}
	var want []int64
	var end int64
	for begun := time.Now(); time.Since(begun) < 60*time.Second; {
		_ = pause.For(t.Context(), 500*time.Millisecond)
		write(plain, "roll")
		_, end = l.bounds(t)
		if want = l.franz(t, end); len(want) < 150 {
			break
		}
	}
	if len(want) >= 150 {
		t.Skipf("the cleaner has left %d records in a minute", len(want))
	}
	for begun := time.Now(); time.Since(begun) < 20*time.Second; { // a cleaning between two reads makes them differ
		want = l.franz(t, end)
		ok := true
		for _, maxBytes := range []int{1 << 20, 1500, 100} {
			l.cfg.MaxBytes = maxBytes
			got, err := readTo(t, l.reader(t, 0), end)
			if err != nil {
				t.Fatal(err)
			}
			ok = ok && slices.Equal(offsetsOf(got), want)
		}
		if ok {
			t.Logf("%d records of %d, every one once", len(want), end)
			return
		}
	}
	t.Error("not what franz-go reads")
}

func TestLiveAbortedTransactionsAreNotRead(t *testing.T) {
	l := newLive(t, "KEYSTRAND_KAFKA", 1, nil)
	want := transactions(t, func(opts ...kgo.Opt) *kgo.Client { return l.client(t, opts...) })
	for _, maxBytes := range []int{1 << 20, 100} {
		l.cfg.MaxBytes = maxBytes
		got, err := readTo(t, l.reader(t, 0), want[len(want)-1]+1)
		if err != nil || !slices.Equal(offsetsOf(got), want) {
			t.Errorf("offsets %v, %v, franz-go has %v", offsetsOf(got), err, want)
		}
	}
	_, end := l.bounds(t) // the last marker
	if _, err := readTo(t, l.reader(t, want[len(want)-1]+1), end); err != nil {
		t.Error(err)
	}
}

func TestLiveOpenTransactionHoldsCommittedReadersBack(t *testing.T) {
	l := newLive(t, "KEYSTRAND_KAFKA", 1, nil)
	cl := l.client(t, kgo.TransactionalID(l.topic))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	kafkatest.Produce(t, cl, 5)
	if _, end := l.bounds(t); end != 0 {
		t.Errorf("committed end %d", end)
	}
	l.cfg.Cluster.ReadUncommitted = true
	if _, end := l.bounds(t); end != 5 {
		t.Errorf("uncommitted end %d", end)
	}
	if got, err := readTo(t, l.reader(t, 0), 5); err != nil || len(got) != 5 {
		t.Errorf("%d messages, %v", len(got), err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	l.cfg.Cluster.ReadUncommitted = false
	if got, err := readTo(t, l.reader(t, 0), 6); err != nil || len(got) != 0 {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

func TestLiveDeletedRecordsAreOutOfRange(t *testing.T) {
	l := newLive(t, "KEYSTRAND_KAFKA", 1, nil)
	kafkatest.Produce(t, l.client(t), 100)
	_, err := l.adm.DeleteRecords(t.Context(), kadm.Offsets{l.topic: {0: kadm.Offset{Topic: l.topic, At: 60}}})
	if err != nil {
		t.Fatal(err)
	}
	var out *OutOfRangeError
	if _, err := readTo(t, l.reader(t, 10), 100); !errors.As(err, &out) || out.First != 60 || out.Last != 100 {
		t.Errorf("error %v", err)
	}
	if _, err := readTo(t, l.reader(t, 101), 102); !errors.As(err, &out) || out.Offset != 101 {
		t.Errorf("error %v", err)
	}
	l.cfg.OutOfRange = Earliest
	if got, err := readTo(t, l.reader(t, 10), 100); err != nil || len(got) != 40 {
		t.Errorf("%d messages, %v", len(got), err)
	}
	if first, end := l.bounds(t); first != 60 || end != 100 {
		t.Errorf("bounds %d, %d", first, end)
	}
}

// Soak: the topic is deleted under its reader.
func TestSoakRecreatedLogIsNotSkipped(t *testing.T) {
	l := newLive(t, "KEYSTRAND_KAFKA", 1, nil)
	kafkatest.Produce(t, l.client(t), 100)
	id, err := logID(t, l.cfg, l.topic)
	if err != nil || id == "" {
		t.Fatal(id, err)
	}
	r := l.reader(t, 0)
	if _, err := readTo(t, r, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := l.adm.DeleteTopics(t.Context(), l.topic); err != nil {
		t.Fatal(err)
	}
	l.create(t, 1, nil)
	kafkatest.Produce(t, l.client(t), 200)
	if got, err := readTo(t, r, 101); len(got) > 0 || !errors.Is(err, metadata.ErrRecreated) && !errors.Is(err, metadata.ErrTopicGone) {
		t.Errorf("%d messages, %v", len(got), err)
	}
	l.cfg.LogID = id
	if got, err := readTo(t, l.reader(t, 100), 101); len(got) > 0 || !errors.Is(err, metadata.ErrRecreated) {
		t.Errorf("%d messages, %v", len(got), err)
	}
	l.cfg.LogID = ""
	if got, err := readTo(t, l.reader(t, 0), 200); err != nil || len(got) != 200 {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

func TestLiveLeaderMovesAreFollowed(t *testing.T) {
	l := newLive(t, "KEYSTRAND_KAFKA3", 3, nil)
	cl := l.client(t)
	r := l.reader(t, 0)
	slowest := time.Duration(0)
	var epoch int32
	for i := range int64(6) {
		replicas := []int32{1, 2, 3}
		first := replicas[i%3]
		order := append([]int32{first}, slices.DeleteFunc(replicas, func(n int32) bool { return n == first })...)
		var req kadm.AlterPartitionAssignmentsReq
		req.Assign(l.topic, 0, order)
		if _, err := l.adm.AlterPartitionAssignments(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		_ = pause.For(t.Context(), 300*time.Millisecond)
		if _, err := l.adm.ElectLeaders(t.Context(), kadm.ElectPreferredReplica, kadm.TopicsSet{l.topic: {0: {}}}); err != nil {
			t.Fatal(err)
		}
		kafkatest.Produce(t, cl, 10)
		begun := time.Now()
		if got, err := readTo(t, r, 10*(i+1)); err != nil || len(got) != 10 {
			t.Fatalf("%d messages, %v", len(got), err)
		}
		slowest = max(slowest, time.Since(begun))
		if e := r.LeaderEpoch(r.Position()); e < epoch {
			t.Errorf("leader epoch %d after %d", e, epoch)
		} else {
			epoch = e
		}
	}
	t.Logf("slowest %v, leader epoch %d at the end", slowest, epoch)
	if epoch == 0 {
		t.Error("no leader has moved")
	}
}

// Soak: a broker is killed.
func TestSoakReaderGoesOnWhenTheLeaderIsKilled(t *testing.T) {
	services := os.Getenv("KEYSTRAND_KAFKA_CTL")
	if services == "" {
		t.Skip("KEYSTRAND_KAFKA_CTL is not Set: eval \"$(tools/services/services env)\"")
	}
	l := newLive(t, "KEYSTRAND_KAFKA3", 3, nil)
	cl := l.client(t)
	kafkatest.Produce(t, cl, 10)
	r := l.reader(t, 0)
	if _, err := readTo(t, r, 10); err != nil {
		t.Fatal(err)
	}
	md, err := l.adm.Metadata(t.Context(), l.topic)
	if err != nil {
		t.Fatal(err)
	}
	leader := fmt.Sprint(md.Topics[l.topic].Partitions[0].Leader)
	service := func(command string) {
		t.Helper()
		if out, err := exec.Command(services, command, "kafka3", leader).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	defer service("start")
	service("kill")
	begun := time.Now()
	kafkatest.Produce(t, cl, 10)
	produced := time.Since(begun)
	if got, err := readTo(t, r, 20); err != nil || len(got) != 10 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	t.Logf("broker %s killed: written again after %v, read after %v", leader, produced, time.Since(begun))
}
