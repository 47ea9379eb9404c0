package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

func TestNewReturnsAllErrorsAtOnce(t *testing.T) {
	_, err := kafka.New(nil, "", []string{"", "a", "a"}, kafka.Config{
		SessionTimeout: -1, HeartbeatInterval: -1, RebalanceTimeout: -1, JoinBackoff: -1, StartTimeout: -1, WatchInterval: -1,
		MaxWait: -1, StallTimeout: -1, MaxBytes: -1, MetadataLimit: 40000, OutOfRange: 9, ForeignProgress: 9,
		Start: kafka.Offsets(map[string]map[int32]int64{"t": {0: -5}}),
		SASL:  kafka.SCRAMSHA256("\x00", "x"),
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"brokers", "group", "topic name is empty", `topic "a" is listed twice`, "SessionTimeout", "HeartbeatInterval", "RebalanceTimeout",
		"JoinBackoff", "StartTimeout", "WatchInterval", "MaxWait", "StallTimeout", "MaxBytes", "MetadataLimit 40000",
		"OutOfRange 9", "ForeignProgress 9", "offset -5 of t/0", "SCRAM-SHA-256",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q:\n%v", want, err)
		}
	}
	_, err = kafka.New([]string{"", "nowhere"}, "g", []string{"t"}, kafka.Config{})
	if err == nil || !strings.Contains(err.Error(), `broker ""`) || !strings.Contains(err.Error(), `broker "nowhere"`) {
		t.Errorf("brokers without a port: %v", err)
	}
	_, err = kafka.New([]string{"b:9092"}, "g", []string{"t"}, kafka.Config{MaxBytes: 65 << 20})
	if err == nil || !strings.Contains(err.Error(), "MaxBytes") {
		t.Errorf("MaxBytes of 65 MiB: %v", err)
	}
	_, err = kafka.New([]string{"b:9092"}, "g", []string{"t"}, kafka.Config{HeartbeatInterval: 20 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "third of SessionTimeout") {
		t.Errorf("a heartbeat interval of 20s in a session of 30s: %v", err)
	}
}

func TestNewRefusesWhatNoClusterWouldAccept(t *testing.T) {
	for name, c := range map[string]struct {
		broker, group, topic string
		want                 string // empty: accepted
	}{
		"the largest port":        {"b:65535", "g", "t", ""},
		"port too large":          {"127.0.0.1:99999", "g", "t", `port "99999"`},
		"port 0":                  {"b:0", "g", "t", `port "0"`},
		"negative port":           {"b:-1", "g", "t", `port "-1"`},
		"port with a name":        {"b:abc", "g", "t", `broker "b:abc"`},
		"no port":                 {"b:", "g", "t", `broker "b:"`},
		"the longest topic":       {"b:9092", "g", strings.Repeat("t", 249), ""},
		"topic too long":          {"b:9092", "g", strings.Repeat("t", 250), "250 characters"},
		"all characters":          {"b:9092", "g", "aZ09._-", ""},
		"character beyond ASCII":  {"b:9092", "g", "größe", `"größe"`},
		"invalid UTF-8":           {"b:9092", "g", "t\xff", `"t\xff"`},
		"slash":                   {"b:9092", "g", "a/b", `"a/b"`},
		"dot":                     {"b:9092", "g", ".", `"."`},
		"two dots":                {"b:9092", "g", "..", `".."`},
		"three dots":              {"b:9092", "g", "...", ""},
		"the longest group":       {"b:9092", strings.Repeat("g", 32767), "t", ""},
		"group too long to send":  {"b:9092", strings.Repeat("g", 32768), "t", "32768 bytes"},
		"group that is cut apart": {"b:9092", strings.Repeat("ü", 20000), "t", "40000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := kafka.New([]string{c.broker}, c.group, []string{c.topic}, kafka.Config{})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "kafka: ")):
				t.Errorf("New = %v, want an error that names %s", err, c.want)
			}
			if s != nil {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCredentialsPrintNoSecret(t *testing.T) {
	for _, m := range []sasl.Mechanism{
		kafka.Plain("alice", "hunter2"), kafka.SCRAMSHA256("alice", "hunter2"), kafka.SCRAMSHA512("alice", "hunter2"),
	} {
		cfg := kafka.Config{SASL: m}
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("cfg", m), slog.String("all", fmt.Sprint(cfg)))
		text := fmt.Sprintf("%v %+v %#v %s %q %v %+v", m, m, m, m, m, cfg, cfg) + log.String()
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%d", []byte("hunter2"))) {
			t.Errorf("%s shows the password: %s", m.Name(), text)
		}
	}
}

func TestMissingTopicIsNamedAndNotCreated(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		s, err := kafka.New(w.brokers, "g", []string{"t", "absent"}, w.config())
		if err != nil {
			t.Fatal(err)
		}
		err = w.acceptErr(s)
		if !errors.Is(err, kafka.ErrTopicMissing) || !strings.Contains(err.Error(), "absent") || !strings.Contains(err.Error(), `"g"`) {
			t.Errorf("Accept = %v, want ErrTopicMissing that names topic and group", err)
		}
		w.close(s, nil)
		cl := w.client()
		defer cl.Close()
		topics, err := kadm.NewClient(cl).ListTopics(t.Context())
		if err != nil || topics.Has("absent") {
			t.Errorf("topics = %v, %v: asking has created the topic", topics.Names(), err)
		}
	}, kfake.AllowAutoTopicCreation())
}

func TestWatchTopicsReadsATopicThatComes(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		cfg := w.config()
		cfg.WatchTopics = true
		s, err := kafka.New(w.brokers, "g", []string{"t", "later"}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		ps := w.accept(s, 1)
		cl := w.client()
		defer cl.Close()
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 2, 1, nil, "later"); err != nil {
			t.Fatal(err)
		}
		w.follow(ps)
		streams := make(map[string]int)
		for range 3 {
			p, err := s.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			streams[p.ID().Stream]++
			w.release(p)
		}
		w.close(s, nil)
		if streams["t"] != 1 || streams["later"] != 2 {
			t.Errorf("accepted %v, want t once and later twice", streams)
		}
	})
}

func TestNewPartitionsAreRead(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 1)
		cl := w.client()
		defer cl.Close()
		if _, err := kadm.NewClient(cl).CreatePartitions(t.Context(), 2, "t"); err != nil {
			t.Fatal(err)
		}
		w.follow(ps)
		w.close(s, w.accept(s, 3))
	})
}

// What is gone must not hold up the partitions that are there.
func TestTopicMadeAgainWithFewerPartitionsIsRead(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		t := w.t
		s := w.source("g")
		ps := w.accept(s, 3)
		for _, p := range ps {
			go func() { _ = p.Fetch(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1000}) }()
		}
		synctest.Wait()
		if err := errors.Join(w.cluster.DeleteTopic("t"), w.cluster.CreateTopic("t", 2, nil)); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int32{2, 0, 1} { // the one that is gone comes first
			if l := <-ps[n].Leaving(); !l.Lost {
				t.Errorf("leave = %+v, want lost", l)
			}
			w.release(ps[n])
		}
		ps = w.accept(s, 2)
		w.produce(1, 3)
		w.fetch(ps[1], 3)

		cl := w.client()
		defer cl.Close()
		if _, err := kadm.NewClient(cl).CreatePartitions(t.Context(), 1, "t"); err != nil {
			t.Fatal(err)
		}
		w.follow(ps)
		w.close(s, w.accept(s, 3))
	})
}

// kafka-go's leader sees no partition of any topic when one topic is unknown, and would give nothing to anybody.
func TestDeletedTopicTakesNoOtherOneAlong(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		if err := w.cluster.CreateTopic("u", 2, nil); err != nil {
			t.Fatal(err)
		}
		cfg := w.config()
		cfg.WatchTopics = true
		a, err := kafka.New(w.brokers, "g", []string{"t", "u"}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		accept := func(s *kafka.Source, n int) (ps []source.Partition) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			for range n {
				p, err := s.Accept(ctx)
				if err != nil {
					t.Errorf("Accept = %v: %+v", err, s.Report())
					break
				}
				ps = append(ps, p)
			}
			return ps
		}
		ps := accept(a, 3)
		if err := w.cluster.DeleteTopic("t"); err != nil {
			t.Fatal(err)
		}
		c, err := kafka.New(w.brokers, "g", []string{"u"}, w.config())
		if err != nil {
			t.Fatal(err)
		}
		of := make(chan []source.Partition, 1)
		go func() { of <- accept(c, 1) }()
		for _, p := range ps {
			<-p.Leaving()
			w.release(p)
		}
		as, cs := accept(a, 1), <-of
		for _, p := range append(as, cs...) {
			if p.ID().Stream != "u" {
				t.Errorf("accepted %v of a topic that was deleted", p.ID())
			}
		}

		if err := w.cluster.CreateTopic("t", 1, nil); err != nil { // and it is read again when it comes back
			t.Fatal(err)
		}
		again := make(chan bool, 3)
		for _, s := range []*kafka.Source{a, c} {
			held := map[*kafka.Source][]source.Partition{a: as, c: cs}[s]
			go func() {
				for _, p := range held {
					<-p.Leaving()
					w.release(p)
				}
				for {
					p, err := s.Accept(t.Context())
					if err != nil {
						return
					}
					if p.ID().Stream == "t" {
						again <- true
					}
					go func() {
						<-p.Leaving()
						w.release(p)
					}()
				}
			}()
		}
		<-again
		for _, s := range []*kafka.Source{a, c} {
			_ = s.Close() // its partitions are held
		}
	})
}

func TestFatalErrorsOfTheGroupAreNamed(t *testing.T) {
	for _, c := range []struct {
		err  *kerr.Error
		key  kmsg.Key
		want []string
	}{
		{kerr.InvalidSessionTimeout, kmsg.JoinGroup, []string{`"g"`, "session timeout", "30s"}},
		{kerr.InconsistentGroupProtocol, kmsg.JoinGroup, []string{`"g"`, "another kind"}},
		{kerr.InvalidGroupID, kmsg.JoinGroup, []string{`"g"`}},
		{kerr.GroupAuthorizationFailed, kmsg.JoinGroup, []string{`"g"`, "grant READ"}},
		{kerr.GroupAuthorizationFailed, kmsg.FindCoordinator, []string{`"g"`, "grant READ"}},
		{kerr.GroupAuthorizationFailed, kmsg.OffsetCommit, []string{`"g"`, "grant READ"}},
		{kerr.TopicAuthorizationFailed, kmsg.Metadata, []string{"t", "not permitted"}},
		{kerr.TopicAuthorizationFailed, kmsg.OffsetCommit, []string{"t", "not permitted"}},
		{kerr.InvalidTopicException, kmsg.Metadata, []string{"[t]", "name"}},
		{kerr.InvalidRequest, kmsg.Metadata, []string{`"g"`, "refuses"}},
		{kerr.SecurityDisabled, kmsg.JoinGroup, []string{`"g"`, "refuses"}},
	} {
		t.Run(c.err.Message+" of "+c.key.Name(), func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				t := w.t
				f := kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, Count: -1}
				h := w.cluster.Fault(f)
				s := w.source("g")
				began := time.Now()
				err := w.acceptErr(s)
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("Accept = %v, want it to name %s", err, want)
					}
				}
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("it took %v to give up", d)
				}
				h.Remove()
				w.close(s, nil)
			})
		})
	}
}

func TestBrokerThatIsTooOldIsNamedAtOnce(t *testing.T) {
	for _, c := range []struct {
		key  kmsg.Key
		most int16 // version that the brokers speak
		want []string
	}{
		{kmsg.Metadata, 3, []string{"Metadata up to version 3", "Kafka 2.0 or newer"}},
		{kmsg.ListOffsets, 1, []string{"ListOffsets up to version 1", "Kafka 2.0 or newer"}},
		{kmsg.JoinGroup, 0, []string{"API key 11"}},
	} {
		t.Run(c.key.Name(), func(t *testing.T) {
			old := kversion.Stable()
			old.SetMaxKeyVersion(int16(c.key), c.most)
			inWorld(t, 1, func(w *world) {
				t := w.t
				s := w.source("g")
				w.wantsErr(s, append(c.want, `group "g"`, "too old or too new", w.brokers[0])...)
				if n := w.told.times("operation failed; retrying"); n != 0 {
					t.Errorf("it was tried again: the log tells of %d troubles", n)
				}
			}, kfake.MaxVersions(old))
		})
	}
}

func TestUnreachableBrokerIsWaitedForUpToStartTimeout(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		t := w.t
		cfg := w.config()
		cfg.StartTimeout = 30 * time.Second
		s, err := kafka.New([]string{"localhost:1"}, "g", []string{"t"}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = w.acceptErr(s)
		if !errors.Is(err, kafka.ErrStartTimeout) || !strings.Contains(err.Error(), "localhost:1") {
			t.Errorf("Accept = %v, want ErrStartTimeout that names the broker", err)
		}
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("gave up after %v, want 30s", d)
		}
		w.close(s, nil)

		s = w.source("g", func(c *kafka.Config) { c.StartTimeout = 30 * time.Second })
		ps := w.accept(s, 1)
		time.Sleep(time.Minute)
		if r := s.Report(); r.State != "member" {
			t.Errorf("the start timeout struck after the start: %+v", r)
		}
		w.close(s, ps)
	})
}

func TestWrongCredentialsAreNamedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		m    sasl.Mechanism
		want []string
	}{
		{"plain, wrong password", kafka.Plain("alice", "wrong"), []string{"PLAIN", "credentials"}},
		{"scram, wrong password", kafka.SCRAMSHA256("bob", "wrong"), []string{"SCRAM-SHA-256", "credentials"}},
		{"none", nil, []string{"expects SASL"}},
		{"plain", kafka.Plain("alice", "secret"), nil},
		{"scram 256", kafka.SCRAMSHA256("bob", "secret"), nil},
		{"scram 512", kafka.SCRAMSHA512("eve", "secret"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorldWith(t, []kfake.Opt{
				kfake.EnableSASL(), kfake.Superuser("PLAIN", "alice", "secret"), kfake.Superuser("SCRAM-SHA-256", "bob", "secret"),
				kfake.Superuser("SCRAM-SHA-512", "eve", "secret"),
			}, func(w *world) {
				s := w.source("g", func(cfg *kafka.Config) { cfg.SASL = c.m })
				if c.want == nil {
					w.close(s, w.accept(s, 1))
					return
				}
				w.wantsErr(s, c.want...)
			})
		})
	}
}

func (w *world) wantsErr(s *kafka.Source, want ...string) {
	w.t.Helper()
	began := time.Now()
	err := w.acceptErr(s)
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			w.t.Errorf("Accept = %v, want it to say %q", err, text)
		}
	}
	if d := time.Since(began); d > 15*time.Second {
		w.t.Errorf("it took %v", d)
	}
	w.close(s, nil)
}

func TestTLSOnOneSideOnlyIsNamedAtOnce(t *testing.T) {
	server, roots := certificate(t)
	good := &tls.Config{RootCAs: roots}
	for _, c := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		want   []string
	}{
		{"both", server, good, nil},
		{"client only", nil, good, []string{"does not speak TLS"}},
		{"server only", server, nil, []string{"expects TLS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var opts []kfake.Opt
			if c.server != nil {
				opts = append(opts, kfake.TLS(c.server))
			}
			inWorldWith(t, opts, func(w *world) {
				s := w.source("g", func(cfg *kafka.Config) { cfg.TLS = c.client })
				if c.want == nil {
					w.close(s, w.accept(s, 1))
					return
				}
				w.wantsErr(s, c.want...)
			})
		})
	}
}

// Over real sockets: on the unbuffered pipes of the other tests both sides of a failing handshake wait for each other.
func TestCertificateThatIsNotTrustedIsNamedAtOnce(t *testing.T) {
	server, roots := certificate(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	mutual := server.Clone()
	mutual.ClientAuth = tls.RequireAnyClientCert
	strict, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(mutual))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(strict.Close)
	for _, c := range []struct {
		name    string
		cluster *kfake.Cluster
		client  *tls.Config
		want    string
	}{
		{"unknown authority", cluster, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}, "unknown authority"},
		{"another name", cluster, &tls.Config{RootCAs: roots, ServerName: "elsewhere"}, "elsewhere"},
		{"none of ours", strict, &tls.Config{RootCAs: roots, ServerName: "localhost"}, "certificate required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := kafka.New(c.cluster.ListenAddrs(), "g", []string{"t"}, kafka.Config{TLS: c.client})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Accept(t.Context()); err == nil || !strings.Contains(err.Error(), "TLS") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Accept = %v, want an error that names TLS and %q", err, c.want)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// certificate makes a server's certificate for localhost and the pool that trusts it, valid in a bubble's year.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// Close must not wait for others: neither for their drain, nor for an answer to our join.
func TestCloseEndsAJoinThatWaitsForOthers(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		a, b := w.source("g"), w.source("g")
		ps := w.accept(a, 2)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if p, err := b.Accept(ctx); err == nil {
			t.Fatalf("accepted %v", p.ID())
		}
		began := time.Now()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("Close took %v while another member drains", d)
		}
		if n := len(w.cluster.GroupInfo("g").Members); n != 1 {
			t.Errorf("the group has %d members, want 1: nobody would read what the other one is given", n)
		}
		w.follow(ps)
		w.close(a, w.accept(a, 2))
	})
}

func TestCloseOfAMemberThatRejoinsLeavesTheGroup(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		t := w.t
		a, b := w.source("g"), w.source("g")
		ps := w.accept(a, 2)
		got := w.join(b, 1)
		w.follow(ps)
		as, bs := w.accept(a, 1), <-got
		c := w.source("g")
		go func() { _, _ = c.Accept(t.Context()) }()
		w.follow(as) // a is joining again, and waits for b, which drains
		began := time.Now()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("Close took %v while another member drains", d)
		}
		if n := len(w.cluster.GroupInfo("g").Members); n != 2 {
			t.Errorf("the group has %d members, want 2: the one that closed has left", n)
		}
		w.follow(bs)
		w.close(b, w.accept(b, 1))
		_ = c.Close()
	})
}
