package pulsarname

import (
	"cmp"
	"fmt"
	"strings"
)

// answer is a part of a broker's answer, and advice.
type answer struct{ says, hint string }

// limits are answers of brokers that have reached a limit, or that forbid to create something, with the setting and what the
// source or the sink needs. A broker names no setting.
var limits = []answer{ //nolint:gochecknoglobals // immutable table
	{"Topic reached max consumers limit", "raise maxConsumersPerTopic: each partition needs one consumer for each process, and one more"},
	{
		"Subscription reached max consumers limit",
		"raise maxConsumersPerSubscription: the subscription of the election needs one consumer for each process",
	},
	{"maximum number of subscriptions", "raise maxSubscriptionsPerTopic: each topic needs two subscriptions, the second one with the suffix -owner"},
	{"maximum number of topics", "raise maxTopicsPerNamespace"},
	{"max producers limit", "raise maxProducersPerTopic: a sink needs a producer for each of its writers, and one for its check"},
	{"backlog quota exceeded", "a subscription of the topic has a backlog of backlogQuotaDefaultLimitGB or more: have it read or skipped, or raise the quota"},
	{"maximum number of connections", "raise brokerMaxConnections or brokerMaxConnectionsPerIp"},
	{"TooManyRequests", "raise maxConcurrentLookupRequest, or start fewer processes at once"},
	{
		"SubscriptionNotFound",
		"allowAutoSubscriptionCreation is off: create the subscription (pulsar-admin topics create-subscription), or switch it on",
	},
}

// Advise adds the setting to change to the error of a limit or a refusal, and returns other errors as they are.
func Advise(err error) error {
	if advice := cmp.Or(Limit(err), hint(refusals, err)); advice != "" {
		return fmt.Errorf("%w (%s)", err, advice)
	}
	return err
}

// Limit returns advice if a broker has refused a request because of one of its limits, else "". It is retried: others may
// leave, and an operator can raise the limit.
func Limit(err error) string { return hint(limits, err) }

// refusals are answers of brokers that forbid what a client does, however often it is tried, with what to do.
var refusals = []answer{ //nolint:gochecknoglobals // immutable table
	{"Encryption is required", "encryptionRequired is set, and the sink does not encrypt: unset it, or write elsewhere"},
	{
		"without a schema to topics with a schema",
		"schemaValidationEnforced is set, and the sink has no schema: unset it, or write to a topic without a schema",
	},
}

func hint(answers []answer, err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	for _, a := range answers {
		if strings.Contains(text, a.says) {
			return a.hint
		}
	}
	return ""
}
