//go:build unix

package livetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"net/rpc"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/commit/storetest"
	"github.com/keystrand/keystrand/sink"
	sinkkafka "github.com/keystrand/keystrand/sink/kafka"
	sinkpulsar "github.com/keystrand/keystrand/sink/pulsar"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
	"github.com/keystrand/keystrand/source/pulsar"
)

// cluster is a live service as the scenarios see it.
type cluster interface {
	about() *service
	create(ctx context.Context, stream string, partitions int) error
	// remove deletes a stream and forgets all about it.
	remove(ctx context.Context, stream string, partitions int) error
	// produce writes messages in order, each to its partition, durably, and sets their offsets.
	produce(ctx context.Context, ms []Message) error
	// progress returns the decoded commits of a group.
	progress(ctx context.Context, stream, group string) (map[Place]commit.Progress, error)
	// move gives the partitions of a stream to other nodes in order.
	move(ctx context.Context, stream string) error
}

// service is what both clusters have.
type service struct {
	name           string                 // in tools/services
	way            access                 // without stream and group
	prefix         string                 // of the full names of streams
	messages, keys int                    // of a scenario, at most
	withholds      bool                   // acknowledged messages from a new owner, instead of telling it the progress
	forgets        map[Kind]time.Duration // see History.Forgets
}

func (s *service) about() *service { return s }

func (s *service) access(stream, group string) access {
	way := s.way
	way.Stream, way.Group = stream, group
	return way
}

// connect returns a service by its name in tools/services and a flavour: "pulsar+batches". The test skips if the service does
// not run.
func connect(t *testing.T, service string) cluster {
	t.Helper()
	name, flavour, _ := strings.Cut(service, "+")
	if strings.HasPrefix(name, "kafka") {
		return newKafka(t, name, flavour)
	}
	return newPulsar(t, name, flavour)
}

func env(t *testing.T, name, service string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Skipf("%s is not set: run tools/services/services up %s; eval \"$(tools/services/services env)\"", name, service)
	}
	return v
}

// newStream makes a stream that is gone after the test.
func newStream(t *testing.T, c cluster, partitions int) string {
	t.Helper()
	stream := fmt.Sprintf("%slive-%d", c.about().prefix, time.Now().UnixNano())
	if err := c.create(t.Context(), stream, partitions); err != nil {
		t.Fatalf("create %s: %v", stream, err)
	}
	t.Cleanup(func() { _ = c.remove(context.Background(), stream, partitions) })
	return stream
}

// access is how a member reaches a stream.
type access struct {
	Service, Address string // kafka, pulsar or mariadb; several brokers are separated by commas
	Stream, Group    string
	Start            string      // GTIDs of a binlog, behind which members begin; Stream is its database
	CA, User, Secret string      // files and names for TLS with SCRAM-SHA-512 or a token; empty: neither
	Store            remoteStore // of progress, for Pulsar; empty: none
	Alone            bool        // there is one member
}

// source opens the stream. Its session is short: a silent owner is missed after some seconds.
func (a access) source(log *slog.Logger) (source.Source, error) {
	if a.Service == "kafka" {
		cfg := kafka.Config{
			SessionTimeout: 5 * time.Second, HeartbeatInterval: 500 * time.Millisecond, RebalanceTimeout: 20 * time.Second,
			Logger: log, TLS: trusting(a.CA), Alone: a.Alone,
		}
		if a.User != "" {
			cfg.SASL = kafka.SCRAMSHA512(a.User, a.Secret)
		}
		return kafka.New(strings.Split(a.Address, ","), a.Group, []string{a.Stream}, cfg)
	}
	if a.Service == "mariadb" {
		return a.binlog(log)
	}
	cfg := pulsar.Config{WatchInterval: time.Second, Logger: log, TLS: trusting(a.CA)}
	if a.Secret != "" {
		cfg.Authentication = pulsar.Token(a.Secret)
	}
	if a.Store != "" {
		cfg.Store = a.Store
	}
	return pulsar.New(a.Address, a.Group, []string{a.Stream}, cfg)
}

// sink writes to the stream.
func (a access) sink() (sink.Sink, error) {
	if a.Service == "kafka" {
		return sinkkafka.New(strings.Split(a.Address, ","), a.Stream, sinkkafka.Config{})
	}
	return sinkpulsar.New(a.Address, a.Stream, sinkpulsar.Config{LastHeaderWins: true})
}

// trusting returns the settings for an authority's certificate, nil without a file. A file without one trusts nobody.
func trusting(ca string) *tls.Config {
	if ca == "" {
		return nil
	}
	pem, _ := os.ReadFile(ca)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// store keeps progress in the memory of the test. Members reach it by RPC, so it outlives them and brokers.
type store struct {
	mu    sync.Mutex
	saved map[Place]commit.Progress // guarded by mu
}

// StoreCall claims an epoch, or saves progress.
type StoreCall struct {
	Place
	Save     bool
	Progress commit.Progress
}

// newStore returns a store and its address.
func newStore(t *testing.T) (*store, remoteStore) {
	t.Helper()
	s := &store{saved: map[Place]commit.Progress{}}
	server := rpc.NewServer()
	if err := server.RegisterName("Store", s); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	return s, remoteStore(web.Listener.Addr().String())
}

// Call is for members. The answer has the stored progress; after a fenced Save, its epoch is another one.
func (s *store) Call(call StoreCall, answer *commit.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.saved[call.Place]
	if !call.Save {
		p.Epoch = max(p.Epoch+1, call.Progress.Epoch)
	} else if call.Progress.Epoch == p.Epoch {
		p = call.Progress
	}
	s.saved[call.Place], *answer = p, p
	return nil
}

func (s *store) progress() map[Place]commit.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.saved)
}

// remoteStore is the address of a store.
type remoteStore string

// Claim implements [commit.Store].
func (s remoteStore) Claim(_ context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	return s.call(StoreCall{Place{stream, partition}, false, commit.Progress{Epoch: epoch}})
}

// Save implements [commit.Store].
func (s remoteStore) Save(_ context.Context, stream string, partition int32, p *commit.Progress) error {
	stored, err := s.call(StoreCall{Place{stream, partition}, true, *p})
	if err == nil && stored.Epoch != p.Epoch {
		err = fmt.Errorf("epoch %d is claimed, not %d: %w", stored.Epoch, p.Epoch, commit.ErrFenced)
	}
	return err
}

func (s remoteStore) call(call StoreCall) (answer *commit.Progress, err error) {
	client, err := rpc.DialHTTP("tcp", string(s))
	if err == nil {
		defer func() { _ = client.Close() }()
		err = client.Call("Store.Call", call, &answer)
	}
	return answer, err
}

// The progress of members survives them, and fences them, only in a store that keeps its contract.
func TestStoreOfMembersKeepsItsContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Env {
		t.Helper()
		_, remote := newStore(t)
		return storetest.Env{Open: func() (commit.Store, error) { return remote, nil }}
	})
}
