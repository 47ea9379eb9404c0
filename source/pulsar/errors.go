package pulsar

import (
	"errors"

	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

var (
	// ErrStartTimeout is the error of Accept when Config.StartTimeout passes before a broker is reached.
	ErrStartTimeout = errors.New("pulsar: timed out connecting to the brokers")
	// ErrTopicMissing is the error of Accept when a topic, or its namespace, does not exist.
	ErrTopicMissing = errors.New("pulsar: the topic does not exist")
	// ErrBusy is the error of Accept with Config.Alone when another consumer holds the subscription of a partition.
	ErrBusy = errors.New("pulsar: another consumer holds the subscription")
	// ErrRefused is the error of Accept when the brokers, or their web service, refuse the credentials.
	ErrRefused = client.ErrRefused
	// ErrUnreadable is in the trouble of a partition that has received a message that the client library cannot read. No later
	// message of the partition is returned.
	ErrUnreadable = errors.New("pulsar: the message cannot be read")
	// ErrEncrypted is in the trouble of a partition that has received a message that no key decrypts. No later message of the
	// partition is returned.
	ErrEncrypted = errors.New("pulsar: the message is encrypted")
)
