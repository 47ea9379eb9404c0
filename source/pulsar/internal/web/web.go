// Package web lists topics with the web service of Pulsar brokers. It sends a token only over connections that protect it
// as well as the first one.
//
// The library's own client of the web service has no TLS configuration, takes a token only as text, and leaks goroutines
// when a request fails.
package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// Config describes a web service.
type Config struct {
	URL       string // as http://host:8080
	Namespace string // as tenant/namespace
	TLS       *tls.Config
	Token     func() (string, error) // called for each request; empty: none is sent
	Timeout   time.Duration          // bounds one call of Topics
}

// Service is the web service of a cluster. It is safe for concurrent use.
type Service struct {
	HTTP *http.Client
	cfg  Config
}

// New returns the service at an URL that [Check] accepts. It makes no connection.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, HTTP: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.TLS.Clone(), ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: redirect,
	}}
}

// redirect keeps the token when one broker redirects to another, but drops it from https to http.
func redirect(r *http.Request, via []*http.Request) error {
	if len(via) > 5 {
		return errors.New("the web service redirects in circles")
	}
	switch token := via[0].Header.Get("Authorization"); {
	case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
		r.Header.Del("Authorization") // net/http keeps it if the host is the same
	case token != "" && r.URL.Scheme == via[0].URL.Scheme:
		r.Header.Set("Authorization", token)
	}
	return nil
}

// Topics returns the full names of the topics in the namespace. It lists a partitioned topic once, without its partitions.
func (s *Service) Topics(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	// In this order, so that the partitions of a topic created in between are not taken for topics.
	plain, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	partitioned, err := s.get(ctx, "partitioned")
	if err != nil {
		return nil, err
	}
	plain = slices.DeleteFunc(plain, func(topic string) bool {
		i := strings.LastIndex(topic, pulsarname.PartitionSuffix)
		return i >= 0 && slices.Contains(partitioned, topic[:i])
	})
	return slices.Concat(partitioned, plain), nil
}

// get requests a list of topics.
func (s *Service) get(ctx context.Context, which ...string) ([]string, error) {
	base, err := url.Parse(s.cfg.URL)
	if err != nil {
		return nil, err
	}
	u := base.JoinPath("admin", "v2", "persistent", s.cfg.Namespace).JoinPath(which...)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	token, err := s.cfg.Token()
	if err != nil {
		return nil, fmt.Errorf("token of Config.Authentication: %w", err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := s.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return nil, &statusError{status: res.Status, code: res.StatusCode, text: strings.TrimSpace(string(text))}
	}
	var topics []string
	if err := json.NewDecoder(res.Body).Decode(&topics); err != nil {
		return nil, fmt.Errorf("the answer is not a list of topics (use the URL of the brokers' web service): %w", err)
	}
	return topics, nil
}

// statusError is an answer other than 200.
type statusError struct {
	status string
	code   int
	text   string
}

func (e *statusError) Error() string {
	if e.text == "" {
		return "the web service answers " + e.status
	}
	return "the web service answers " + e.status + ": " + e.text
}

// Refused reports whether the service has refused the token.
func Refused(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && (e.code == http.StatusUnauthorized || e.code == http.StatusForbidden)
}

// NotHTTP reports whether the other side closed the connection, or answered with something else than HTTP.
func NotHTTP(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "malformed HTTP")
}

// Check returns an error if the URL or the namespace is malformed. No error contains a password.
func Check(address, namespace string) error {
	var errs []error
	if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		errs = append(errs, fmt.Errorf("pulsar: AdminURL %q: want http://host:8080 or https://host:8443", pulsarname.WithoutPassword(address)))
	}
	if parts := strings.Split(namespace, "/"); len(parts) < 2 || slices.Contains(parts, "") {
		errs = append(errs, fmt.Errorf("pulsar: Namespace %q: want tenant/namespace", namespace))
	}
	return errors.Join(errs...)
}
