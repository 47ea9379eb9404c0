package pulsar

import (
	"bytes"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar/log"
)

func TestConnectionsAreLoggedAtOnceAndEachMinute(t *testing.T) {
	fails := func(l log.Logger) {
		l.Info("Connecting to broker")
		l.WithError(syscall.ECONNREFUSED).Warn("Failed to connect to broker.")
	}
	silent := func(l log.Logger) { l.Info("Connecting to broker") }
	for name, c := range map[string]struct {
		attempt func(l log.Logger)
		says    string
	}{"refused": {fails, "connection refused"}, "silent": {silent, "no answer within 1s"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told bytes.Buffer
				out := slog.New(slog.NewTextHandler(&told, nil))
				l := libraryLog{out: slog.New(slog.DiscardHandler), troubles: &troubles{log: out}}.
					SubLogger(log.Fields{"remote_addr": &url.URL{Scheme: "pulsar", Host: "a:6650"}})
				for range 60 {
					c.attempt(l)
					time.Sleep(3 * time.Second)
					synctest.Wait()
				}
				line := `level=WARN msg="pulsar: connection failed; retrying" broker=a:6650 error="` + c.says + `"`
				if n := strings.Count(told.String(), line); n != 3 {
					t.Errorf("logged %d times in 3 minutes, want 3:\n%s", n, &told)
				}
				l.Info("Connecting to broker")
				l.Info("Connection is ready")
				time.Sleep(time.Hour)
				l.Info("Connection is ready")
				if n := strings.Count(told.String(), `msg="pulsar: connection recovered" broker=a:6650`); n != 1 {
					t.Errorf("logged %d recoveries, want 1:\n%s", n, &told)
				}
			})
		})
	}
}

// A silent connection is trouble of the Write that waits for it, until it is ready. After close nothing is logged.
func TestSilentConnectionIsTroubleUntilItIsReadyOrTheSinkIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		known := &troubles{log: slog.New(slog.NewTextHandler(&told, nil))}
		l := libraryLog{out: slog.New(slog.DiscardHandler), troubles: known}.
			SubLogger(log.Fields{"remote_addr": &url.URL{Scheme: "pulsar", Host: "a:6650"}})
		began := time.Now()
		l.Info("Connecting to broker")
		time.Sleep(2 * time.Second)
		if err := known.since(began); !errors.Is(err, errSilent) {
			t.Errorf("trouble = %v, want %v", err, errSilent)
		}
		l.Info("Connection is ready")
		if err := known.since(began); err != nil {
			t.Errorf("trouble = %v after the connection is ready", err)
		}
		told.Reset()
		l.Info("Connecting to broker")
		known.close()
		l.Info("Connecting to broker")
		time.Sleep(time.Minute)
		if told.Len() > 0 {
			t.Errorf("logged after close:\n%s", &told)
		}
	})
}

// A limit of connections passes when others leave. A login that is refused does not.
func TestLimitOfConnectionsIsWaitedFor(t *testing.T) {
	for text, want := range map[string]cure{
		"Reached the maximum number of connections":                     heal,
		"Reached the maximum number of connections on address 10.0.0.1": heal,
		"Failed to authenticate":                                        report,
	} {
		if got := cureFor(&refusal{text}); got != want {
			t.Errorf("%q: cure %d, want %d", text, got, want)
		}
	}
}
