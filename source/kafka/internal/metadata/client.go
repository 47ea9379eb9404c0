package metadata

import (
	"fmt"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Client asks the brokers of a cluster. It is a value: copies share the Transport. It is safe for concurrent use.
type Client struct {
	wire.Client

	// ReadUncommitted makes the end of a partition the high watermark. Default: false, the last stable offset.
	ReadUncommitted bool
}

func (c *Client) check() error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("kafka: configuration of the client: %w", err)
	}
	return nil
}
