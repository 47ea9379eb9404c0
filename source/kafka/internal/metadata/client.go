package metadata

import (
	"context"

	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// Client asks the brokers of a cluster. It is a value: copies share the Transport. It is safe for concurrent use.
type Client struct {
	wire.Client

	// ReadUncommitted makes the end of a partition the high watermark. Default: false, the last stable offset.
	ReadUncommitted bool

	// Report is called while an operation is retried, with the last error, and with nil when it has succeeded after all. It
	// must not block. Default: none.
	Report func(ctx context.Context, what string, err error)
}
