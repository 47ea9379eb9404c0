package kafka_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink/kafka"
)

func Example() {
	// A broker in this process. Use the address of your broker instead.
	net := &kfake.VirtualNetwork{}
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(net.Listen), kfake.SeedTopics(4, "totals"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer broker.Close()

	s, err := kafka.New(broker.ListenAddrs(), "totals", kafka.Config{Dial: net.DialContext})
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := s.Open() // a pipeline does the rest: Transform(t).To(s)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = w.Write(context.Background(), []keystrand.Message{
		{Key: []byte("alice"), Value: []byte("3")},
		{Key: []byte("bob"), Value: []byte("2")},
	})
	fmt.Println(err, w.Close(), s.Close())
	for _, name := range []string{"alice", "bob"} {
		p := kafka.Murmur2([]byte(name), 4)
		fmt.Printf("%s is in partition %d, as a Java producer would have it\n", name, p)
	}
	// Output:
	// <nil> <nil> <nil>
	// alice is in partition 1, as a Java producer would have it
	// bob is in partition 2, as a Java producer would have it
}
