package pulsarname

import (
	"errors"
	"strings"
	"testing"
)

// The answers are those of Pulsar 4.0.8.
func TestAdviceNamesTheSettingOfTheBroker(t *testing.T) {
	for answer, c := range map[string]struct {
		setting string
		limit   bool // it is retried
	}{
		"server error: ConsumerBusy: Topic reached max consumers limit":                                          {"maxConsumersPerTopic", true},
		"server error: ConsumerBusy: Subscription reached max consumers limit":                                   {"maxConsumersPerSubscription", true},
		"server error: NotAllowedError: Exceed the maximum number of subscriptions of the topic: persistent://t": {"maxSubscriptionsPerTopic", true},
		"server error: NotAllowedError: Exceed maximum number of topics in namespace.":                           {"maxTopicsPerNamespace", true},
		"server error: SubscriptionNotFound: Subscription does not exist":                                        {"allowAutoSubscriptionCreation", true},
		"server error: ProducerBusy: Topic 'persistent://t' reached max producers limit":                         {"maxProducersPerTopic", true},
		"server error: ProducerBlockedQuotaExceededError: Cannot create producer on topic with backlog quota exceeded": {
			"quota", true,
		},
		"Reached the maximum number of connections":                                                         {"brokerMaxConnections", true},
		"server error: MetadataError: Encryption is required in persistent://t":                             {"encryptionRequired", false},
		"server error: IncompatibleSchema: without a schema to topics with a schemawhen Schema… is enabled": {"schemaValidationEnforced", false},
		"server error: ConsumerBusy: Exclusive consumer is already connected":                               {},
		"connection error": {},
	} {
		err := errors.New(answer)
		if got := Limit(err); (got != "") != c.limit || c.limit && !strings.Contains(got, c.setting) {
			t.Errorf("Limit(%q) = %q, want %q", answer, got, c.setting)
		}
		got := Advise(err)
		if !errors.Is(got, err) || (got.Error() == answer) != (c.setting == "") || !strings.Contains(got.Error(), c.setting) {
			t.Errorf("Advise(%q) = %q, want %q", answer, got, c.setting)
		}
	}
}
