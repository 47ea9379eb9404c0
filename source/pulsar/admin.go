package pulsar

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/admin"
	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/admin/config"
	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/utils"
)

// list returns the full names of a namespace's topics, the partitioned ones without their partitions.
func (s *Source) list() ([]string, error) {
	c, err := admin.New(&config.Config{WebServiceURL: s.cfg.AdminURL, Token: s.cfg.AdminToken, TLSEnableHostnameVerification: true})
	if err != nil {
		return nil, err
	}
	namespace, err := utils.GetNamespaceName(s.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	partitioned, plain, err := c.Topics().List(*namespace)
	if err != nil {
		return nil, err
	}
	plain = slices.DeleteFunc(plain, func(topic string) bool {
		i := strings.LastIndex(topic, "-partition-")
		return i >= 0 && slices.Contains(partitioned, topic[:i])
	})
	return slices.Concat(partitioned, plain), nil
}

// matching returns the topics that match the pattern, until the web service answers; of topics that were there before, the
// names stay, so that they are noticed to be gone.
func (s *Source) matching(ctx context.Context) ([]string, bool) {
	const what = "list topics"
	bo := newBackoff(firstRetry, mostRetry)
	for {
		all, err := call(ctx, s, s.list, func([]string) {})
		if ctx.Err() != nil {
			return nil, false
		}
		if err == nil {
			s.health.Works(ctx, what)
			return s.pattern(all), true
		}
		s.health.Fails(ctx, what, fmt.Errorf("%s: namespace %q: %w", s.cfg.AdminURL, s.cfg.Namespace, err))
		if !sleep(ctx, bo.NextBackOff()) {
			return nil, false
		}
	}
}

// pattern returns what of all matches, and what did before, without the topics that are named and what keeps the brokers'
// own affairs.
func (s *Source) pattern(all []string) []string {
	var names []string
	for _, topic := range all {
		own := strings.Contains(topic, "/__")
		if s.cfg.Pattern.MatchString(topic) && !own && strings.HasPrefix(topic, "persistent://") && !slices.Contains(s.topics, topic) {
			names = append(names, topic)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.contenders {
		if !slices.Contains(names, c.stream) && !slices.Contains(s.topics, c.stream) {
			names = append(names, c.stream)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
