package pulsar_test

import (
	"fmt"

	"github.com/keystrand/keystrand/source/pulsar"
)

// A pipeline accepts partitions from a source. The first Accept connects.
func Example() {
	src, err := pulsar.New("pulsar://localhost:6650", "billing", []string{"orders"}, pulsar.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(src.Report().State)
	fmt.Println(src.Close())
	// Output:
	// connecting
	// <nil>
}

// New returns all errors of a configuration at once. It makes no connection.
func ExampleNew() {
	_, err := pulsar.New("localhost:6650", "", []string{"orders"}, pulsar.Config{ReceiverQueueSize: -1})
	fmt.Println(err)
	// Output:
	// pulsar: URL "localhost:6650": want pulsar://host:6650 or pulsar+ssl://host:6651
	// pulsar: no subscription is given
	// pulsar: ReceiverQueueSize is negative: -1
}
