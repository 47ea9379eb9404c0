// Command broker is a Kafka broker for trying things out. It speaks Kafka's protocol on a free port of this machine and
// keeps everything in memory. It prints its address and runs until its standard input ends.
//
// It is a program of its own because its library takes longer to compile than all the rest of the quickstart.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "broker:", err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(cluster.ListenAddrs(), ","))
	_, _ = io.Copy(io.Discard, os.Stdin)
	cluster.Close()
}
