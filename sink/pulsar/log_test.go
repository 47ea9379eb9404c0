package pulsar

import (
	"bytes"
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
