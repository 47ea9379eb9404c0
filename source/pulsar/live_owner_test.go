package pulsar

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/internal/pulsartest"
)

// backlogs returns the backlog of each subscription of a topic.
func (l live) backlogs(t *testing.T, topic string) map[string]int {
	t.Helper()
	var stats struct {
		Subscriptions map[string]struct{ MsgBacklog int }
	}
	if err := l.admin.Do(t.Context(), "GET", pulsartest.Path(topic)+"/stats?getPreciseBacklog=true", nil, &stats); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]int)
	for name, s := range stats.Subscriptions {
		all[name] = s.MsgBacklog
	}
	return all
}

// standsBy reports whether another process is elected for a partition.
func (s *Source) standsBy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.contenders {
		if _, other := c.owns(); other {
			return true
		}
	}
	return false
}

func TestLiveElectionsSubscriptionHasNoBacklog(t *testing.T) {
	for name, broker := range map[string]func(t *testing.T) live{"indexes": liveBroker, "default": liveDefault} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := broker(t)
			topic := l.topic(t, 0)
			r := l.reader(t, l.config(t), "s", topic)
			p := r.accept()
			if err := send(t.Context(), l.producer(t, topic, nil), numbered(0, 100)...); err != nil {
				t.Fatal(err)
			}
			read(t, p, 100)
			settle(t, p, offsetAfter(t, p))
			none := func() {
				t.Helper()
				end := time.Now().Add(30 * time.Second)
				for {
					got := l.backlogs(t, topic)
					if got["s"] == 0 && got["s-owner"] == 0 && len(got) == 2 {
						return
					}
					if time.Now().After(end) {
						t.Fatalf("backlogs %v", got)
					}
					time.Sleep(500 * time.Millisecond) // real time: a poll of the broker
				}
			}
			none()
			// The election goes on as before. The next owner finds nothing to read.
			other := l.reader(t, l.config(t), "s", topic)
			got := (&member{t: t, s: other.s}).accepting()
			for !other.s.standsBy() {
				select {
				case <-p.Leaving(): // the broker has elected the other one
					release(t, p)
					p, r, other = <-got, other, r
					got = (&member{t: t, s: other.s}).accepting()
				case <-time.After(100 * time.Millisecond): // real time: a poll of the broker
				}
			}
			if err := send(t.Context(), l.producer(t, topic, nil), numbered(0, 10)...); err != nil {
				t.Fatal(err)
			}
			read(t, p, 10)
			settle(t, p, offsetAfter(t, p))
			r.s.Stop()
			release(t, p)
			q := <-got
			none()
			release(t, q)
		})
	}
}

// Each limit of a broker is named within two seconds, beside the time of an election.
func TestLiveLimitsAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		policies map[string]any
		what     string
		says     []string
		fatal    bool
	}{
		"consumers of a topic": {map[string]any{"maxConsumersPerTopic": 1}, "attach to", []string{"Topic reached max", "maxConsumersPerTopic"}, false},
		"subscriptions of a topic": {
			map[string]any{"maxSubscriptionsPerTopic": 1}, "attach to", []string{"maximum number of subscriptions", "maxSubscriptionsPerTopic"}, false,
		},
		"no new subscriptions": {
			map[string]any{"autoSubscriptionCreation": map[string]bool{"allowAutoSubscriptionCreation": false}},
			"attach to",
			[]string{"SubscriptionNotFound", "create-subscription"},
			false,
		},
		"no Failover":  {map[string]any{"subscriptionTypesEnabled": []string{"Exclusive"}}, "", []string{"Failover sub type", "subscriptionTypesEnabled"}, true},
		"no Exclusive": {map[string]any{"subscriptionTypesEnabled": []string{"Failover"}}, "", []string{"Exclusive sub type", "subscriptionTypesEnabled"}, true},
		"no new topics": {
			map[string]any{"autoTopicCreation": map[string]bool{"allowAutoTopicCreation": false}}, "", []string{"does not exist", "Config.WatchTopics"}, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := liveBroker(t)
			ns, err := l.admin.Namespace(t.Context(), c.policies)
			if err != nil {
				t.Fatal(err)
			}
			topic := "persistent://" + ns + "/orders"
			r := l.reader(t, l.config(t), "s", topic)
			if c.fatal {
				r.refused(20*time.Second, nil, c.says...)
				return
			}
			accepted := make(chan error, 1)
			go func() {
				_, err := r.s.Accept(t.Context())
				accepted <- err
			}()
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // real time: a poll of the broker
				trouble := (&member{t: t, s: r.s}).troubled(c.what + " " + topic + "/0")
				if trouble != nil && !slices.ContainsFunc(c.says, func(text string) bool { return !strings.Contains(trouble.Error(), text) }) {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("trouble = %v, want %q", r.s.Report().Trouble, c.says)
				}
			}
		})
	}
}
