package client

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

// linkEvents are the events of connections, with the time since the first attempt.
func linkEvents(t *testing.T, writes func(l log.Logger)) (heard []string) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		note := func(addr, text string) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, fmt.Sprint(time.Since(begin), " ", addr, " ", text))
		}
		l := NewLog(slog.New(slog.DiscardHandler), "pulsar://a:6650", Events{
			Connected:   func(addr string) { note(addr, "connected") },
			Unreachable: func(addr string, err error) { note(addr, err.Error()) },
		})
		writes(l.Logger().SubLogger(map[string]any{"remote_addr": &url.URL{Scheme: "pulsar", Host: "a:6650"}}))
		time.Sleep(time.Hour)
		synctest.Wait()
	})
	return heard
}

func TestLogReportsConnectionsAtOnce(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		writes func(l log.Logger)
		want   []string
	}{
		"fast": {func(l log.Logger) {
			l.Info("Connecting to broker")
			l.Info("TCP connection established")
			l.Info("Connection is ready")
		}, []string{"0s a:6650 connected"}},
		"refused": {func(l log.Logger) {
			l.Info("Connecting to broker")
			l.WithError(refused).Warn("Failed to connect to broker.")
		}, []string{"0s a:6650 dial: connection refused"}},
		"refused by the broker": {func(l log.Logger) {
			l.Info("Connecting to broker")
			l.Warnf("Failed to establish connection with broker: '%s'", "no token")
		}, []string{`0s a:6650 the broker says "no token"`}},
		"no accept": {func(l log.Logger) {
			l.Info("Connecting to broker")
		}, []string{"1s a:6650 no answer to the TCP or TLS handshake within 1s"}},
		"silent, then ready": {func(l log.Logger) {
			l.Info("Connecting to broker")
			l.Info("TCP connection established")
			time.Sleep(3 * time.Second)
			l.Info("Connection is ready")
		}, []string{"1s a:6650 no answer to Pulsar's first command within 1s", "3s a:6650 connected"}},
		"silent, then tried again": {func(l log.Logger) {
			l.Info("Connecting to broker")
			time.Sleep(500 * time.Millisecond)
			l.Info("Connecting to broker")
		}, []string{"1.5s a:6650 no answer to the TCP or TLS handshake within 1s"}},
	} {
		t.Run(name, func(t *testing.T) {
			if heard := linkEvents(t, c.writes); !slices.Equal(heard, c.want) {
				t.Errorf("events %q, want %q", heard, c.want)
			}
		})
	}
}

func TestClosedLogReportsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(slog.New(slog.DiscardHandler), "pulsar://a:6650", Events{
			Unreachable: func(_ string, err error) { t.Errorf("unreachable: %v", err) },
		})
		line := l.Logger().SubLogger(map[string]any{"remote_addr": "a:6650"})
		line.Info("Connecting to broker")
		l.Close()
		line.Info("Connecting to broker")
		time.Sleep(time.Minute)
	})
}

// server listens on a port of this machine and handles each connection with f.
func server(t *testing.T, f func(c net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestProbeNamesTheProtocolOfAWrongPort(t *testing.T) {
	// firstByte handles a connection by the first byte that arrives.
	firstByte := func(answers map[byte]string) func(c net.Conn) {
		return func(c net.Conn) {
			b := make([]byte, 17)
			if n, _ := c.Read(b); n > 0 {
				_, _ = io.WriteString(c, answers[b[0]])
			}
		}
	}
	web := firstByte(map[byte]string{'G': "HTTP/1.1 400 Bad Request\r\n\r\n"})
	broker := firstByte(map[byte]string{0: "\x00\x00\x00\x09\x00\x00\x00\x05\x08\x03\x1a\x01\x01"})
	secure := firstByte(map[byte]string{'G': "\x15\x03\x03\x00\x02\x02\x46", 0x16: "\x15\x03\x03\x00\x02\x02\x28"})
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for name, c := range map[string]struct {
		f      func(c net.Conn)
		scheme string
		says   string // none: it cannot tell
	}{
		"HTTP":                {web, "pulsar", "speaks HTTP"},
		"HTTP instead of TLS": {web, "pulsar+ssl", "speaks HTTP"},
		"TLS":                 {secure, "pulsar", "expects TLS"},
		"no TLS":              {broker, "pulsar+ssl", "does not speak TLS"},
		"broker":              {broker, "pulsar", ""},
		"secure broker":       {secure, "pulsar+ssl", ""},
		"silent":              {silent, "pulsar", ""},
		"closes":              {func(net.Conn) {}, "pulsar", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := server(t, c.f)
			err := Probe(t.Context(), addr, c.scheme+"://"+addr)
			switch {
			case c.says == "" && err != nil, c.says != "" && err == nil:
				t.Errorf("Probe = %v, want an error with %q", err, c.says)
			case err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), addr)):
				t.Errorf("Probe = %v, want %q and %s", err, c.says, addr)
			}
		})
	}
}

func TestLimitNamesTheSettingOfTheBroker(t *testing.T) {
	for answer, setting := range map[string]string{
		"server error: ConsumerBusy: Topic reached max consumers limit":                                          "maxConsumersPerTopic",
		"server error: ConsumerBusy: Subscription reached max consumers limit":                                   "maxConsumersPerSubscription",
		"server error: NotAllowedError: Exceed the maximum number of subscriptions of the topic: persistent://t": "maxSubscriptionsPerTopic",
		"server error: NotAllowedError: Exceed maximum number of topics in namespace.":                           "maxTopicsPerNamespace",
		"server error: SubscriptionNotFound: Subscription does not exist":                                        "allowAutoSubscriptionCreation",
		"server error: ProducerBusy: Topic 'persistent://t' reached max producers limit":                         "maxProducersPerTopic",
		"Reached the maximum number of connections":                                                              "brokerMaxConnections",
		"server error: ConsumerBusy: Exclusive consumer is already connected":                                    "",
		"connection error": "",
	} {
		err := errors.New(answer)
		if got := Limit(err); (got == "") != (setting == "") || !strings.Contains(got, setting) {
			t.Errorf("Limit(%q) = %q, want %q", answer, got, setting)
		}
		if busy := Busy(err); busy != strings.Contains(answer, "Exclusive consumer") {
			t.Errorf("Busy(%q) = %v", answer, busy)
		}
	}
	l := NewLog(slog.New(slog.DiscardHandler), "", Events{})
	err := l.Fatal("orders", "billing-owner", errors.New("server error: NotAllowedError: Topic[{persistent://t}] doesn't support Failover sub type"))
	if err == nil || !strings.Contains(err.Error(), "subscriptionTypesEnabled") {
		t.Errorf("Fatal = %v, want subscriptionTypesEnabled", err)
	}
}

func TestPreferListsHostsThatAnswerFirst(t *testing.T) {
	broker := server(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 17))
		_, _ = io.WriteString(c, "\x00\x00\x00\x09\x00\x00\x00\x05\x08\x03\x1a\x01\x01")
	})
	silent := server(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	closed := server(t, func(net.Conn) {})
	times := func(n int, host string) string { return strings.TrimSuffix(strings.Repeat(host+",", n), ",") }
	for _, c := range []struct{ url, want string }{
		{"pulsar://" + silent, "pulsar://" + silent},
		{"pulsar://" + silent + "," + closed, "pulsar://" + silent + "," + closed},
		{"pulsar://" + broker + "," + broker, "pulsar://" + broker + "," + broker},
		{"pulsar://" + silent + "," + broker + "," + closed, "pulsar://" + times(preferred, broker) + "," + silent + "," + closed},
		{"pulsar+ssl://" + broker + "," + silent, "pulsar+ssl://" + broker + "," + silent},
	} {
		if got := Prefer(t.Context(), c.url); got != c.want {
			t.Errorf("Prefer(%s) = %s, want %s", c.url, got, c.want)
		}
	}
}
