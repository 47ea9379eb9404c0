// Command probe is the readiness test and the smoke test of tools/services for Kafka.
//
//	probe ready -nodes 1,2,3 ADDRESS        check that the broker answers and its metadata lists these nodes
//	probe roundtrip ADDRESS[,ADDRESS...]    write messages to a new topic and read them with a new group
//	probe secured -ca FILE SASL TLS SASLTLS do that through every listener of kafka-sasl, and check its refusals
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("no command: want ready, roundtrip or secured")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	nodes := flags.String("nodes", "1", "ready: comma-separated nodes that the metadata must list")
	ca := flags.String("ca", "", "secured: file with the certificate authority, PEM")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch rest := flags.Args(); {
	case args[0] == "ready" && len(rest) == 1:
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		return ready(ctx, rest[0], strings.Split(*nodes, ","))
	case args[0] == "roundtrip" && len(rest) == 1:
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		return roundtrip(ctx, kgo.SeedBrokers(strings.Split(rest[0], ",")...))
	case args[0] == "secured" && len(rest) == 3 && *ca != "":
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		defer cancel()
		return secured(ctx, *ca, rest[0], rest[1], rest[2])
	}
	return fmt.Errorf("unknown arguments %q; the top of main.go has the usage", args)
}

// ready asks a single broker for its cluster's nodes.
func ready(ctx context.Context, address string, nodes []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	meta, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	seen := make(map[string]bool)
	for _, id := range meta.Brokers.NodeIDs() {
		seen[strconv.Itoa(int(id))] = true
	}
	for _, node := range nodes {
		if !seen[node] {
			return fmt.Errorf("%s: metadata does not list node %s, only %v", address, node, meta.Brokers.NodeIDs())
		}
	}
	return nil
}

// roundtrip writes to a new topic of two partitions, reads it with a new group that commits, and deletes both.
func roundtrip(ctx context.Context, opts ...kgo.Opt) (err error) {
	const count = 100
	name := fmt.Sprintf("probe-%d-%d", os.Getpid(), time.Now().UnixNano())
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumerGroup(name), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DefaultProduceTopic(name), kgo.DisableAutoCommit(), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RequestRetries(3))...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	admin := kadm.NewClient(client)
	made, err := admin.CreateTopic(ctx, 2, -1, nil, name)
	if err = errors.Join(err, made.Err); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	defer func() {
		_, topicErr := admin.DeleteTopic(ctx, name)
		client.LeaveGroup()
		_, groupErr := admin.DeleteGroup(ctx, name)
		err = errors.Join(err, topicErr, groupErr)
	}()

	records := make([]*kgo.Record, count)
	for i := range records {
		records[i] = kgo.KeySliceRecord(strconv.AppendInt(nil, int64(i), 10), []byte("probe"))
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("write to %s: %w", name, err)
	}
	seen := make(map[string]int)
	for len(seen) < count {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("read back %d of %d messages of %s: %w", len(seen), count, name, ctx.Err())
		}
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++ })
	}
	if err := client.CommitUncommittedOffsets(ctx); err != nil {
		return fmt.Errorf("commit for group %s: %w", name, err)
	}
	return nil
}

// secured tries every listener with every mechanism, and checks the refusals that the live tests rely on.
func secured(ctx context.Context, caFile, saslAddress, tlsAddress, saslTLSAddress string) error {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no certificate found", caFile)
	}
	trusted := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	alice := plain.Auth{User: "alice", Pass: "alice-secret"}.AsMechanism()
	bob := scram.Auth{User: "bob", Pass: "bob-secret"}
	carol := plain.Auth{User: "carol", Pass: "carol-secret"}.AsMechanism()
	wrong := plain.Auth{User: "alice", Pass: "wrong"}.AsMechanism()

	for _, c := range []struct {
		name      string
		address   string
		tls       *tls.Config
		mechanism sasl.Mechanism
		refused   error
	}{
		{"TLS", tlsAddress, trusted, nil, nil},
		{"SASL PLAIN", saslAddress, nil, alice, nil},
		{"SASL SCRAM-SHA-256", saslAddress, nil, bob.AsSha256Mechanism(), nil},
		{"SASL SCRAM-SHA-512", saslAddress, nil, bob.AsSha512Mechanism(), nil},
		{"SASL PLAIN over TLS", saslTLSAddress, trusted, alice, nil},
		{"SASL SCRAM-SHA-256 over TLS", saslTLSAddress, trusted, bob.AsSha256Mechanism(), nil},
		{"SASL SCRAM-SHA-512 over TLS", saslTLSAddress, trusted, bob.AsSha512Mechanism(), nil},
		{"a wrong password", saslAddress, nil, wrong, kerr.SaslAuthenticationFailed},
		{"a user without permission", saslAddress, nil, carol, kerr.TopicAuthorizationFailed},
	} {
		opts := []kgo.Opt{kgo.SeedBrokers(c.address)}
		if c.tls != nil {
			opts = append(opts, kgo.DialTLSConfig(c.tls))
		}
		if c.mechanism != nil {
			opts = append(opts, kgo.SASL(c.mechanism))
		}
		if err := roundtrip(ctx, opts...); !errors.Is(err, c.refused) {
			return fmt.Errorf("%s at %s: got %w, want %w", c.name, c.address, orNone(err), orNone(c.refused))
		}
	}
	return nil
}

func orNone(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}
