package pulsar

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand/internal/pulsarname"
	"github.com/keystrand/keystrand/internal/pulsarprobe"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
	"github.com/keystrand/keystrand/source/pulsar/internal/web"
)

// surveyPattern looks at all matching topics. It returns when to look again, or false after a fatal error or the end of ctx.
// A web service that does not answer delays only topics that it alone knows.
func (s *Source) surveyPattern(ctx context.Context) (again time.Duration, ok bool) {
	const what = "list topics"
	known := s.known
	all, err := client.Call(ctx, &s.calls, func() ([]string, error) { return s.web.Topics(ctx) }, func([]string) {})
	if ctx.Err() != nil {
		return 0, false
	}
	names := known.names
	if err == nil {
		s.health.Works(ctx, what)
		names = s.matching(all)
		for _, topic := range known.names {
			if !slices.Contains(names, topic) {
				s.delisted(ctx, topic)
			}
		}
		if !known.listed {
			s.listed(names)
		}
		known.names, known.listed = names, true
	} else {
		err = fmt.Errorf("%s: namespace %q: %w", pulsarname.WithoutPassword(s.cfg.AdminURL), s.cfg.Namespace, err)
		s.health.Fails(ctx, what, err)
		if !known.listed {
			return s.unlisted(ctx, err)
		}
	}
	for _, topic := range names {
		// Only the list tells whether a topic that is gone exists again. A look-up would create it at a broker that creates
		// topics on request.
		if err != nil && s.isGone(topic) {
			continue
		}
		if !s.surveyTopic(ctx, topic, true) {
			return 0, false
		}
	}
	return s.cfg.WatchInterval, true
}

// listed records the matching topics that exist when the source starts. Start is about them.
func (s *Source) listed(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, topic := range names {
		s.moved[topic] = nil
	}
}

// delisted forgets a matching topic that does not exist any more. Its contenders end after the last release.
func (s *Source) delisted(ctx context.Context, topic string) {
	delete(s.known.last, topic)
	s.health.Forget("look up " + topic)
	s.health.Forget("read " + topic)
	_ = s.contend(ctx, topic, nil, true, true) // nil: there are no partitions to start
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.moved, topic)
}

// unlisted returns when to retry a web service that has never answered. It reports false if the error is fatal or
// StartTimeout has passed.
func (s *Source) unlisted(ctx context.Context, err error) (again time.Duration, ok bool) {
	again = s.known.pause.NextBackOff()
	if s.cfg.StartTimeout > 0 {
		left := s.cfg.StartTimeout - time.Since(s.known.begin)
		if left <= 0 {
			s.fail(fmt.Errorf("%w: subscription %q: the web service: %w", ErrStartTimeout, s.subscription, err))
			return 0, false
		}
		again = min(again, left)
	}
	if f := s.fatalOfWeb(ctx, err); f != nil {
		s.fail(f)
		return 0, false
	}
	return again, true
}

// fatalOfWeb returns an error for the user if a retry cannot heal err, else nil. After the first list everything is retried,
// since tokens are renewed.
func (s *Source) fatalOfWeb(ctx context.Context, err error) error {
	switch {
	case web.Refused(err):
		return fmt.Errorf("%w: subscription %q: %w (check Config.AdminToken, and that its role may list the topics of the namespace)", ErrRefused, s.subscription, err)
	case client.Certificate(err):
		return fmt.Errorf("pulsar: subscription %q: TLS to the web service: %w (check Config.TLS: root certificates, server name, client certificate)",
			s.subscription, err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("pulsar: subscription %q: the web service does not speak TLS: %w (use http:// in Config.AdminURL)", s.subscription, err)
	case web.NotHTTP(err) && s.isBinaryPort(ctx):
		return fmt.Errorf("pulsar: subscription %q: the port speaks Pulsar's binary protocol: %w (use the port of the web service, 8080 or with TLS 8443, "+
			"in Config.AdminURL)", s.subscription, err)
	}
	return nil
}

// isBinaryPort reports whether the port of AdminURL is that of the binary protocol, without TLS. It takes less than a second.
func (s *Source) isBinaryPort(ctx context.Context) bool {
	u, err := url.Parse(s.cfg.AdminURL)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, pulsarprobe.Timeout)
	defer cancel()
	return pulsarprobe.SpeaksPulsar(ctx, u.Host)
}

// matching returns the topics that Pattern matches, without named ones and the brokers' internal ones.
func (s *Source) matching(all []string) []string {
	var names []string
	for _, topic := range all {
		internal := strings.Contains(topic, "/__")
		if s.cfg.Pattern.MatchString(topic) && !internal && !slices.ContainsFunc(s.topics, sameAs(topic)) {
			names = append(names, topic)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// webToken returns the token for the web service. It returns the brokers' token only if the connection to the web service
// protects it as well as theirs.
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
