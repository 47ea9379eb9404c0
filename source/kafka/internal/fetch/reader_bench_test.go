package fetch

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source"

	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// BenchmarkRead compares the ways to read: one op is one message, whose key and value may be kept for ever. The broker
// is in this process and shares its processors; it answers every fetch with one canned batch of 1000 records.
//
//	go test -run '^$' -bench BenchmarkRead -benchtime 3000000x ./source/kafka/internal/fetch
func BenchmarkRead(b *testing.B) {
	for _, v := range []struct {
		partitions, size int
		codec            kgo.CompressionCodec
		name             string
	}{
		{1, 100, kgo.NoCompression(), "none"},
		{8, 100, kgo.NoCompression(), "none"},
		{8, 1000, kgo.NoCompression(), "none"},
		{8, 100, kgo.SnappyCompression(), "snappy"},
		{8, 100, kgo.Lz4Compression(), "lz4"},
		{8, 100, kgo.ZstdCompression(), "zstd"},
	} {
		for _, path := range []struct {
			name string
			read func(b *testing.B, addrs []string, partition int, more func(int) bool)
		}{
			{"keystrand", readKeystrand},
			{"Client.Fetch", readClientFetch},
			{"Conn.ReadBatch", readConn},
			{"franz-go", nil},
		} {
			b.Run(fmt.Sprintf("partitions=%d/size=%d/%s/%s", v.partitions, v.size, v.name, path.name), func(b *testing.B) {
				k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(int32(v.partitions), "t"),
					kfake.SyntheticFetch(kfake.SyntheticBatch{RecordBytes: v.size, Records: 1000, RandomFrac: 0.3, Compression: v.codec}))
				if err != nil {
					b.Fatal(err)
				}
				defer k.Close()
				var count atomic.Int64
				more := func(n int) bool { return count.Add(int64(n)) < int64(b.N) }
				b.ReportAllocs()
				b.ResetTimer()
				if path.read == nil {
					readFranz(b, k.ListenAddrs(), v.partitions, more)
				} else {
					var wg sync.WaitGroup
					for p := range v.partitions {
						wg.Go(func() { path.read(b, k.ListenAddrs(), p, more) })
					}
					wg.Wait()
				}
				b.ReportMetric(float64(count.Load())/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}

func readKeystrand(b *testing.B, addrs []string, partition int, more func(int) bool) {
	b.Helper()
	tr := &kafka.Transport{MetadataTopics: []string{"t"}, MetadataTTL: time.Second}
	defer tr.CloseIdleConnections()
	r := NewReader(Config{Cluster: metadata.Client{Client: wire.Client{Brokers: addrs, Transport: tr}}}, "t", int32(partition), 0)
	defer r.Close()
	batch := source.Batch{MaxMessages: 1000, MaxBytes: 1 << 20}
	for {
		batch.Messages = batch.Messages[:0]
		if err := r.Read(b.Context(), &batch); err != nil {
			b.Error(err)
			return
		}
		if !more(len(batch.Messages)) {
			return
		}
	}
}

func readClientFetch(b *testing.B, addrs []string, partition int, more func(int) bool) {
	b.Helper()
	tr := &kafka.Transport{MetadataTopics: []string{"t"}}
	defer tr.CloseIdleConnections()
	cl := &kafka.Client{Addr: kafka.TCP(addrs...), Transport: tr}
	for offset := int64(0); ; {
		res, err := cl.Fetch(b.Context(), &kafka.FetchRequest{Topic: "t", Partition: partition, Offset: offset, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
		if err != nil || res.Error != nil {
			b.Error(err, res)
			return
		}
		n := 0
		for {
			rec, err := res.Records.ReadRecord()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					b.Error(err)
				}
				break
			}
			for _, field := range []protocol.Bytes{rec.Key, rec.Value} {
				if field != nil {
					if _, err := protocol.ReadAll(field); err != nil {
						b.Error(err)
					}
					field.Close()
				}
			}
			offset = rec.Offset + 1
			n++
		}
		if !more(n) {
			return
		}
	}
}

func readConn(b *testing.B, addrs []string, partition int, more func(int) bool) {
	b.Helper()
	c, err := kafka.DialLeader(b.Context(), "tcp", addrs[0], "t", partition)
	if err != nil {
		b.Error(err)
		return
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Seek(0, kafka.SeekAbsolute|kafka.SeekDontCheck); err != nil {
		b.Error(err)
	}
	for {
		batch := c.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
		n := 0
		for {
			if _, err := batch.ReadMessage(); err != nil {
				break
			}
			n++
		}
		if err := batch.Close(); err != nil {
			b.Error(err)
			return
		}
		if !more(n) {
			return
		}
	}
}

func readFranz(b *testing.B, addrs []string, partitions int, more func(int) bool) {
	b.Helper()
	from := map[int32]kgo.Offset{}
	for p := range partitions {
		from[int32(p)] = kgo.NewOffset().At(0)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": from}),
		kgo.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		b.Error(err)
		return
	}
	defer cl.Close()
	for more(cl.PollFetches(b.Context()).NumRecords()) {
	}
}
