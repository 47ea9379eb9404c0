package cluster_test

import (
	"fmt"

	"github.com/keystrand/keystrand/source/kafka/internal/cluster"
)

func ExampleCheckNames() {
	fmt.Println(cluster.CheckNames([]string{"localhost"}, "", []string{".."}))
	// Output:
	// kafka: broker "localhost" is not host:port: address localhost: missing port in address
	// kafka: no group
	// kafka: topic "..": no broker accepts the name: "." and ".." are reserved
}
