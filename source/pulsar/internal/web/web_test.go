package web

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// net/http itself keeps headers on a redirect to the same host, whatever the scheme.
func TestTokenIsDroppedOnARedirectFromTLSToClear(t *testing.T) {
	got := make(chan string, 2)
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization")
		_, _ = w.Write([]byte("[]"))
	}))
	defer open.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, open.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer secure.Close()
	roots := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	roots.RootCAs.AddCert(secure.Certificate())
	s := New(Config{
		URL: secure.URL, Namespace: "public/default", TLS: roots, Timeout: time.Minute,
		Token: func() (string, error) { return "secret", nil },
	})
	defer s.HTTP.CloseIdleConnections()
	if _, err := s.Topics(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if token := <-got; token != "" {
			t.Errorf("%q was sent in clear", token)
		}
	}
}
