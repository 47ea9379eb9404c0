package pulsar_test

import (
	"fmt"
	"os"

	client "github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/sink/pulsar"
)

func Example() {
	// New does not connect. The sink connects at the first Write.
	s, err := pulsar.New("pulsar+ssl://pulsar.example:6651", "shop/prod/totals", pulsar.Config{
		Authentication: client.NewAuthenticationTokenFromSupplier(func() (string, error) { return os.Getenv("PULSAR_TOKEN"), nil }),
		LastHeaderWins: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A pipeline does the rest: Transform(t).To(s), or OnFailure(pipeline.DeadLetter(s)).
	fmt.Println(s.Close())

	for _, name := range []string{"alice", "bob"} {
		fmt.Printf("%s is in partition %d, as the Java client would have it\n", name, pulsar.JavaStringHash([]byte(name), 6))
	}
	_, err = pulsar.New("pulsar.example:6650", "non-persistent://shop/prod/totals", pulsar.Config{HealTimeout: -1})
	fmt.Println(err)
	// Output:
	// <nil>
	// alice is in partition 0, as the Java client would have it
	// bob is in partition 1, as the Java client would have it
	// pulsar: sink for topic "non-persistent://shop/prod/totals": URL "pulsar.example:6650": want pulsar://host:6650 or pulsar+ssl://host:6651
	// topic "non-persistent://shop/prod/totals" keeps no messages: nothing in it outlives a restart
	// HealTimeout is negative: -1ns
}
