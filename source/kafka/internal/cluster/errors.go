package cluster

import (
	"errors"
	"fmt"
	"strings"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/internal/kafkanet"
	"github.com/keystrand/keystrand/source/kafka/internal/metadata"
)

// Fatal returns an error for the user if retrying cannot heal err, else nil. Unknown errors are retried: a logged error does
// less harm than a program that ends because of a broker's new error code.
func (c *Client) Fatal(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, kafkago.UnsupportedVersion) || strings.Contains(err.Error(), noVersion) {
		return fmt.Errorf("kafka: group %q, brokers %v: a broker is too old or too new: %w", c.Group, c.Brokers, err)
	}
	if denied, ok := errors.AsType[*metadata.PermissionError](err); ok && denied.Topic != "" {
		return fmt.Errorf("kafka: group %q: %w", c.Group, err) // it names the topics
	}
	if code, ok := errors.AsType[kafkago.Error](err); ok {
		if f := c.FatalCode(code); f != nil {
			return f
		}
	}
	if _, ok := errors.AsType[*metadata.PermissionError](err); ok {
		return fmt.Errorf("kafka: group %q: %w", c.Group, err)
	}
	if kafkanet.RefusesCertificate(err) {
		return fmt.Errorf("kafka: TLS to %v: %w (check Config.TLS: root certificates, server name, client certificate)", c.Brokers, err)
	}
	return nil
}

// noVersion is the text of kafka-go's untyped error for a broker that shares no version of a request.
const noVersion = "no matching versions were found between the client and the broker"

// FatalCode is Fatal for an error code.
func (c *Client) FatalCode(code kafkago.Error) error {
	switch code { //nolint:exhaustive // everything else is retried
	case kafkago.InvalidSessionTimeout:
		return fmt.Errorf("kafka: group %q: the broker does not allow a session timeout of %v: %w "+
			"(group.min.session.timeout.ms and group.max.session.timeout.ms, 6 s and 30 min by default)", c.Group, c.SessionTimeout, code)
	case kafkago.InconsistentGroupProtocol:
		return fmt.Errorf("kafka: group %q has live members of another kind: %w (another client, group.protocol=consumer, "+
			"or a strategy that we do not know; stop them all, or use another group)", c.Group, code)
	case kafkago.InvalidGroupId:
		return fmt.Errorf("kafka: group %q: the broker does not accept the name: %w", c.Group, code)
	case kafkago.GroupAuthorizationFailed:
		return fmt.Errorf("kafka: group %q: not permitted: %w (grant READ on the group)", c.Group, code)
	case kafkago.TopicAuthorizationFailed:
		return fmt.Errorf("kafka: group %q: topics %v: not permitted: %w (grant READ and DESCRIBE)", c.Group, c.Topics, code)
	case kafkago.ClusterAuthorizationFailed:
		return fmt.Errorf("kafka: group %q: the cluster refuses this client: %w", c.Group, code)
	case kafkago.SASLAuthenticationFailed:
		return fmt.Errorf("kafka: SASL %s: the broker refuses the credentials: %w (check Config.SASL: mechanism, user and password)", c.mechanism(), code)
	case kafkago.UnsupportedSASLMechanism:
		return fmt.Errorf("kafka: SASL %s: the broker does not offer this mechanism: %w (choose one of its sasl.enabled.mechanisms)", c.mechanism(), code)
	case kafkago.IllegalSASLState:
		return fmt.Errorf("kafka: SASL %s: the broker's port does not expect SASL: %w (leave Config.SASL empty, or use another port)",
			c.mechanism(), code)
	case kafkago.InvalidTopic:
		return fmt.Errorf("kafka: group %q: topics %v: brokers do not accept a name: %w", c.Group, c.Topics, code)
	case kafkago.InvalidRequest, kafkago.UnsupportedForMessageFormat, kafkago.SecurityDisabled:
		return fmt.Errorf("kafka: group %q: the broker refuses a request; retrying cannot help: %w", c.Group, code)
	case kafkago.UnsupportedVersion:
		return fmt.Errorf("kafka: group %q: a broker is too old or too new for a request: %w", c.Group, code)
	}
	return nil
}

// Moving reports whether a broker answered that there will be a coordinator soon, or that another broker is.
func Moving(err error) bool {
	return errors.Is(err, kafkago.NotCoordinatorForGroup) || errors.Is(err, kafkago.GroupCoordinatorNotAvailable) ||
		errors.Is(err, kafkago.GroupLoadInProgress)
}

// Explain adds the text that kafka-go lacks for an error code that heals, and drops what it says before the broker and the
// step of a connection that failed.
func Explain(err error) error {
	if errors.Is(err, kafkago.GroupMaxSizeReached) {
		return fmt.Errorf("%w: the group is full (group.max.size)", err)
	}
	if errors.Is(err, kafkago.GroupCoordinatorNotAvailable) {
		return fmt.Errorf("%w: the group has no coordinator; a new cluster makes the topic __consumer_offsets first, with "+
			"offsets.topic.replication.factor brokers (3 by default)", err)
	}
	if silent, ok := errors.AsType[*kafkanet.SilentError](err); ok {
		return silent
	}
	if failed, ok := errors.AsType[*kafkanet.Error](err); ok {
		return failed
	}
	return err
}

func (c *Client) mechanism() string {
	if c.SASL == nil {
		return "(none)"
	}
	return c.SASL.Name()
}
