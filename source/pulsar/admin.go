package pulsar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

// surveyPattern looks at all topics that match. It returns when to look again, and false when there is no use in going on.
// A web service that does not answer delays nothing but the topics that it alone knows.
func (s *Source) surveyPattern(ctx context.Context, known *catalogue) (again time.Duration, ok bool) {
	const what = "list topics"
	all, err := call(ctx, s, func() ([]string, error) { return s.list(ctx) }, func([]string) {})
	if ctx.Err() != nil {
		return 0, false
	}
	names := known.names
	if err == nil {
		s.health.Works(ctx, what)
		names = s.matching(all)
		for _, topic := range known.names {
			if !slices.Contains(names, topic) {
				s.delisted(ctx, known, topic)
			}
		}
		known.names, known.listed = names, true
	} else {
		err = fmt.Errorf("%s: namespace %q: %w", pulsarname.WithoutPassword(s.cfg.AdminURL), s.cfg.Namespace, err)
		s.health.Fails(ctx, what, err)
		if !known.listed {
			return s.unlisted(known, err)
		}
	}
	for _, topic := range names {
		// Whether a topic that seems to be gone is there again, only the list can say: where brokers create topics by
		// themselves, asking for it would make it.
		if err != nil && s.isGone(topic) {
			continue
		}
		if !s.surveyTopic(ctx, topic, known, true) {
			return 0, false
		}
	}
	return s.cfg.WatchInterval, true
}

// delisted forgets a matching topic that does not exist any more. Its contenders end after the last release.
func (s *Source) delisted(ctx context.Context, known *catalogue, topic string) {
	delete(known.last, topic)
	s.health.Forget("look up " + topic)
	s.health.Forget("read " + topic)
	_ = s.contend(ctx, found{stream: topic, late: true, pattern: true}) // nil: there are no partitions to start
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.moved, topic)
}

// unlisted returns when to try again after a web service has not answered yet. It reports false when waiting cannot heal that,
// or has lasted for StartTimeout.
func (s *Source) unlisted(known *catalogue, err error) (again time.Duration, ok bool) {
	again = known.pause.NextBackOff()
	if s.cfg.StartTimeout > 0 {
		left := s.cfg.StartTimeout - time.Since(known.begin)
		if left <= 0 {
			s.fail(fmt.Errorf("%w: subscription %q: the web service: %w", ErrStartTimeout, s.subscription, err))
			return 0, false
		}
		again = min(again, left)
	}
	if f := s.fatalOfWeb(err); f != nil {
		s.fail(f)
		return 0, false
	}
	return again, true
}

// matching returns what of all topics the pattern is for: not those that are named, nor what keeps the brokers' own affairs.
func (s *Source) matching(all []string) []string {
	var names []string
	for _, topic := range all {
		own := strings.Contains(topic, "/__")
		if s.cfg.Pattern.MatchString(topic) && !own && !slices.ContainsFunc(s.topics, sameAs(topic)) {
			names = append(names, topic)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// list returns the full names of a namespace's topics, the partitioned ones without their partitions. The library's own client
// of the web service would do but for three things: it knows no TLS configuration, takes a token only as text, and leaves
// goroutines behind when a request fails.
func (s *Source) list(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.OperationTimeout)
	defer cancel()
	// In this order, so that partitions of a topic that is made meanwhile are not taken for topics.
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

// get asks the web service for topics of the namespace.
func (s *Source) get(ctx context.Context, which ...string) ([]string, error) {
	base, err := url.Parse(s.cfg.AdminURL)
	if err != nil {
		return nil, err
	}
	u := base.JoinPath("admin", "v2", "persistent", s.cfg.Namespace).JoinPath(which...)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	token, err := s.webToken()
	if err != nil {
		return nil, fmt.Errorf("the token of Config.Authentication: %w", err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := s.web.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
		return nil, &webError{status: answer.Status, code: answer.StatusCode, text: strings.TrimSpace(string(text))}
	}
	var topics []string
	if err := json.NewDecoder(answer.Body).Decode(&topics); err != nil {
		return nil, fmt.Errorf("the answer is not a list of topics (is it the web service of brokers?): %w", err)
	}
	return topics, nil
}

// webToken returns what to authenticate with. A token that is for the brokers goes nowhere where it is less protected than
// on its way to them.
func (s *Source) webToken() (string, error) {
	if s.cfg.AdminToken != "" {
		return s.cfg.AdminToken, nil
	}
	a, ok := s.cfg.Authentication.(interface {
		Name() string
		GetData() ([]byte, error)
	})
	if !ok || a.Name() != "token" {
		return "", nil
	}
	if !strings.HasPrefix(s.cfg.AdminURL, "https://") && !strings.HasPrefix(s.url, "pulsar://") {
		return "", nil
	}
	token, err := a.GetData()
	return string(token), err
}

// webClient returns a client of the web service. Brokers send each other's clients on: the token goes with them, but not from
// https to http.
func webClient(cfg Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.TLS.Clone(), ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 5 {
				return errors.New("the web service sends us on in circles")
			}
			switch token := via[0].Header.Get("Authorization"); {
			case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
				r.Header.Del("Authorization") // net/http has taken it along where the host is the same
			case token != "" && r.URL.Scheme == via[0].URL.Scheme:
				r.Header.Set("Authorization", token)
			}
			return nil
		},
	}
}

// checkAdmin looks at what the web service would only answer with an error.
func (c Config) checkAdmin() error {
	var errs []error
	if u, err := url.Parse(c.AdminURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		errs = append(errs, fmt.Errorf("pulsar: AdminURL %q: want http://host:8080 or https://host:8443", pulsarname.WithoutPassword(c.AdminURL)))
	}
	if parts := strings.Split(c.Namespace, "/"); len(parts) < 2 || slices.Contains(parts, "") {
		errs = append(errs, fmt.Errorf("pulsar: Namespace %q: want tenant/namespace", c.Namespace))
	}
	return errors.Join(errs...)
}
