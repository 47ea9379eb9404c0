package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	kplain "github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink/sinktest"
)

func liveBrokers(t *testing.T, variable string) []string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		t.Skipf("%s is not set: start a broker with tools/services and set it to host:port", variable)
	}
	return strings.Split(v, ",")
}

// liveTopic creates a topic for the test and deletes it when the test ends. The topic has no retention time: the broker checks
// it every second, and the messages of a test may have old times.
func liveTopic(t *testing.T, brokers []string, partitions int32, config map[string]*string, opts ...kgo.Opt) string {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...))...)
	if err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(cl)
	config = maps.Clone(config)
	if config == nil {
		config = map[string]*string{}
	}
	forever := "-1"
	config["retention.ms"] = &forever
	name := fmt.Sprintf("sink-%s-%d", strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-"), time.Now().UnixNano())
	if _, err := adm.CreateTopic(t.Context(), partitions, 1, config, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := adm.DeleteTopic(context.Background(), name); err != nil {
			t.Error(err)
		}
		cl.Close()
	})
	return name
}

func TestLiveSinkKeepsTheContract(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	small := "3000"
	sinktest.Run(t, func(t *testing.T) *sinktest.Env {
		t.Helper()
		topic := liveTopic(t, brokers, 4, map[string]*string{"max.message.bytes": &small})
		c := &cutter{dial: (&net.Dialer{}).DialContext}
		s, err := New(brokers, "", Config{ByStream: true, Dial: c.DialContext}) // at once, when some brokers may not know the topic yet
		if err != nil {
			t.Fatal(err)
		}
		return &sinktest.Env{
			Sink:     s,
			Stream:   topic,
			Trouble:  func() { c.cut.Store(2) },
			MaxBytes: 4000, // refused by the broker, whose limit is below MaxBatchBytes
			Stored: func(ctx context.Context) ([]keystrand.Message, error) {
				return readAll(ctx, brokers, []string{topic})
			},
		}
	})
}

func TestLiveOrderAndPartitions(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	topic := liveTopic(t, brokers, 7, nil)
	s, err := New(brokers, topic, Config{MaxBatchBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	writeRounds(t, w, func(int) {})
	t.Logf("10 writes of 30 messages over 7 partitions took %v", time.Since(start))
	checkOrder(t, readMust(t, brokers, topic), false)

	// The Java producer's choice among 7 partitions, from the hashes of TestMurmur2ReturnsTheHashesOfTheJavaClient.
	java := map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829}
	var ms []keystrand.Message
	for k := range java {
		ms = append(ms, keyed(k+"=java")...)
	}
	if err := w.Write(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	for _, m := range readMust(t, brokers, topic) {
		if hash, ok := java[string(m.Key)]; ok && m.Partition != (hash&0x7fffffff)%7 {
			t.Errorf("key %s is in partition %d, want %d as with the Java producer", m.Key, m.Partition, (hash&0x7fffffff)%7)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestLiveCompactedTopicRefusesNullKeysAlone(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA")
	compact := "compact"
	topic := liveTopic(t, brokers, 1, map[string]*string{"cleanup.policy": &compact})
	s, err := New(brokers, topic, Config{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	ms := keyed("a=1", "b=2", "a=3")
	ms[1].Key = nil
	err = w.Write(t.Context(), ms)
	if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent {
		t.Errorf("error: %v", err)
	}
	if got := values(readMust(t, brokers, topic))["a"]; got != "1 3" {
		t.Errorf("stored %q, want 1 3", got)
	}
	_, _ = w.Close(), s.Close()
}

func TestLiveWrongPassword(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA_SASL")
	s, err := New(brokers, "any", Config{SASL: plain.Mechanism{Username: "alice", Password: "wrong-secret"}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err = w.Write(t.Context(), keyed("a=1"))
	checkWrongPassword(t, err, time.Since(start))
	_, _ = w.Close(), s.Close()
}

func TestLiveNoPermission(t *testing.T) {
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA_SASL")
	s, err := New(brokers, "any", Config{SASL: plain.Mechanism{Username: "carol", Password: "carol-secret"}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	err = w.Write(t.Context(), keyed("a=1"))
	if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent || !strings.Contains(err.Error(), "any") {
		t.Errorf("error: %v", err)
	}
	_, _ = w.Close(), s.Close()
}

func TestLiveSCRAMOverTLS(t *testing.T) {
	admin := liveBrokers(t, "KEYSTRAND_KAFKA_SASL")
	brokers := liveBrokers(t, "KEYSTRAND_KAFKA_SASL_TLS")
	pem, err := os.ReadFile(os.Getenv("KEYSTRAND_KAFKA_CA"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in KEYSTRAND_KAFKA_CA")
	}
	mechanism, err := scram.Mechanism(scram.SHA512, "bob", "bob-secret")
	if err != nil {
		t.Fatal(err)
	}
	alice := kgo.SASL(kplain.Auth{User: "alice", Pass: "alice-secret"}.AsMechanism())
	topic := liveTopic(t, admin, 2, nil, alice)
	s, err := New(brokers, topic, Config{SASL: mechanism, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), keyed("a=1", "a=2")); err != nil {
		t.Fatal(err)
	}
	ms, err := readAll(t.Context(), admin, []string{topic}, alice)
	if got := values(ms)["a"]; err != nil || got != "1 2" {
		t.Errorf("stored %q, %v", got, err)
	}
	_, _ = w.Close(), s.Close()

	s, err = New(brokers, topic, Config{SASL: mechanism, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}) // without the test CA among the trusted roots
	if err != nil {
		t.Fatal(err)
	}
	if w, err = s.Open(); err != nil {
		t.Fatal(err)
	}
	if _, bad := errors.AsType[*tls.CertificateVerificationError](w.Write(t.Context(), keyed("a=3"))); !bad {
		t.Error("Write returned no CertificateVerificationError for a certificate of an unknown authority")
	}
	_, _ = w.Close(), s.Close()
}

func readMust(t *testing.T, brokers []string, topic string) []keystrand.Message {
	t.Helper()
	ms, err := readAll(t.Context(), brokers, []string{topic})
	if err != nil {
		t.Fatal(err)
	}
	return ms
}
