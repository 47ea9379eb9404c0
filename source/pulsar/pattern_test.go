package pulsar

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// webService lists topics. If a token is set, it requires it.
func webService(t *testing.T, token string, secure bool) (s *httptest.Server, roots *tls.Config) {
	t.Helper()
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case token != "" && r.Header.Get("Authorization") != "Bearer "+token:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/base/admin/v2/persistent/tenant/ns/partitioned":
			_, _ = w.Write([]byte(`["persistent://tenant/ns/a"]`))
		case r.URL.Path == "/base/admin/v2/persistent/tenant/ns":
			_, _ = w.Write([]byte(`["persistent://tenant/ns/a-partition-0","persistent://tenant/ns/b","persistent://tenant/ns/c-partition-0"]`))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // failed handshakes are expected
	t.Cleanup(s.Close)
	if !secure {
		s.Start()
		return s, nil
	}
	s.StartTLS()
	roots = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	roots.RootCAs.AddCert(s.Certificate())
	return s, roots
}

func TestWebServiceGetsATokenAsSafelyAsTheBrokers(t *testing.T) {
	for _, c := range []struct {
		name, url  string
		secure     bool
		adminToken string
		a          pulsar.Authentication
		ok         bool
	}{
		{"a token of its own", "pulsar://fake", false, "secret", nil, true},
		{"a token of its own before the brokers'", "pulsar://fake", false, "secret", Token("other"), true},
		{"the brokers' token, in clear as to them", "pulsar://fake", false, "", Token("secret"), true},
		{"the brokers' token, by TLS", "pulsar+ssl://fake", true, "", TokenFrom(func() (string, error) { return "secret", nil }), true},
		{"the brokers' token is not sent in clear", "pulsar+ssl://fake", false, "", Token("secret"), false},
		{"no token", "pulsar://fake", false, "", pulsar.NewAuthenticationTLS("cert", "key"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			web, roots := webService(t, "secret", c.secure)
			s, err := New(c.url, "billing", nil, Config{
				Pattern: regexp.MustCompile("."), AdminURL: web.URL + "/base/", AdminToken: c.adminToken, Namespace: "tenant/ns", Authentication: c.a, TLS: roots,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.web.HTTP.CloseIdleConnections()
			topics, err := s.web.Topics(t.Context())
			want := []string{"persistent://tenant/ns/a", "persistent://tenant/ns/b", "persistent://tenant/ns/c-partition-0"}
			switch {
			case c.ok && (err != nil || !slices.Equal(topics, want)):
				t.Errorf("list = %v, %v", topics, err)
			case !c.ok && s.fatalOfWeb(t.Context(), err) == nil:
				t.Errorf("list = %v, %v; want ErrRefused", topics, err)
			}
		})
	}
}

func TestWebServiceWithAnUnknownAuthorityIsFatal(t *testing.T) {
	web, _ := webService(t, "", true)
	s, err := New("pulsar://fake", "billing", nil, Config{Pattern: regexp.MustCompile("."), AdminURL: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.web.Topics(t.Context()); s.fatalOfWeb(t.Context(), err) == nil {
		t.Errorf("list = %v", err)
	}
}

func TestErrorsHideThePasswordOfTheWebService(t *testing.T) {
	s, err := New("pulsar://fake:6650", "billing", nil, Config{Pattern: regexp.MustCompile("."), AdminURL: "http://admin:secret@127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	s.known = newCatalogue(time.Now())
	if _, ok := s.surveyPattern(t.Context()); !ok {
		t.Fatal("the list is not retried")
	}
	tr := s.Report().Trouble
	if len(tr) != 1 || strings.Contains(tr[0].Err.Error(), "secret") || !strings.Contains(tr[0].Err.Error(), "127.0.0.1:1") {
		t.Errorf("trouble = %v", tr)
	}
	_, err = New("pulsar://fake:6650", "billing", nil, Config{Pattern: regexp.MustCompile("."), AdminURL: "ftp://admin:secret@host"})
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "ftp://host") {
		t.Errorf("New = %v", err)
	}
}
