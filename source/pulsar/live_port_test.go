package pulsar

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestLiveWrongPort(t *testing.T) {
	for _, c := range []struct{ url, says string }{
		{strings.Replace(liveEnv(t, "KEYSTRAND_PULSAR_TLS", "pulsar-tls"), "pulsar+ssl://", "pulsar://", 1), "expects TLS"},
		{strings.Replace(liveEnv(t, "KEYSTRAND_PULSAR", "pulsar"), "pulsar://", "pulsar+ssl://", 1), "does not speak TLS"},
		{strings.Replace(liveEnv(t, "KEYSTRAND_PULSAR_ADMIN", "pulsar"), "http://", "pulsar://", 1), "speaks HTTP"},
		{strings.Replace(liveEnv(t, "KEYSTRAND_PULSAR_ADMIN", "pulsar"), "http://", "pulsar+ssl://", 1), "does not speak TLS"},
	} {
		t.Run(c.url, func(t *testing.T) {
			t.Parallel()
			l := live{url: c.url}
			_, addr, _ := strings.Cut(c.url, "://")
			l.reader(t, l.config(t), "s", "orders").refused(10*time.Second, nil, c.says, addr)
		})
	}
}

// The web service and the binary protocol have different ports.
func TestLiveWrongPortOfTheWebService(t *testing.T) {
	l := liveBroker(t)
	for _, c := range []struct{ url, says string }{
		{strings.Replace(l.url, "pulsar://", "http://", 1), "binary protocol"},
		{strings.Replace(l.admin.URL, "http://", "https://", 1), "does not speak TLS"},
	} {
		t.Run(c.url, func(t *testing.T) {
			t.Parallel()
			cfg := l.config(t)
			cfg.Pattern, cfg.AdminURL = regexp.MustCompile("orders"), c.url
			l.reader(t, cfg, "s").refused(10*time.Second, nil, c.says, c.url)
		})
	}
}
