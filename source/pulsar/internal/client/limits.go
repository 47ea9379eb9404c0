package client

import (
	"fmt"
	"strings"
)

// limits are answers of brokers that have reached a limit, or that forbid to create something, with the setting and what the
// source needs. A broker names no setting.
var limits = []struct{ says, hint string }{ //nolint:gochecknoglobals // immutable table
	{"Topic reached max consumers limit", "raise maxConsumersPerTopic: each partition needs one consumer for each process, and one more"},
	{
		"Subscription reached max consumers limit",
		"raise maxConsumersPerSubscription: the subscription of the election needs one consumer for each process",
	},
	{"maximum number of subscriptions", "raise maxSubscriptionsPerTopic: each topic needs two subscriptions, the second one with the suffix -owner"},
	{"maximum number of topics", "raise maxTopicsPerNamespace"},
	{"max producers limit", "raise maxProducersPerTopic"},
	{"maximum number of connections", "raise brokerMaxConnections or brokerMaxConnectionsPerIp"},
	{"TooManyRequests", "raise maxConcurrentLookupRequest, or start fewer processes at once"},
	{
		"SubscriptionNotFound",
		"allowAutoSubscriptionCreation is off: create the subscription (pulsar-admin topics create-subscription), or switch it on",
	},
}

// Advise adds the setting to raise to the error of a limit, and returns other errors as they are.
func Advise(err error) error {
	if hint := Limit(err); hint != "" {
		return fmt.Errorf("%w (%s)", err, hint)
	}
	return err
}

// Limit returns advice if a broker has refused a request because of one of its limits, else "". It is retried: others may
// leave, and an operator can raise the limit.
func Limit(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	for _, l := range limits {
		if strings.Contains(text, l.says) {
			return l.hint
		}
	}
	return ""
}

// typeForbidden reports whether the broker does not allow subscriptions of a type.
func typeForbidden(err error) bool { return says(err, "doesn't support") && says(err, "sub type") }
