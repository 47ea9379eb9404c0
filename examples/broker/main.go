// Command broker is a Kafka broker for trying things out: it listens on this machine, keeps everything in memory and prints
// its address. It runs until its standard input ends.
//
//	go run ./examples/broker                                             # a free port, no topics
//	go run ./examples/broker -port 9092 -topic comments                  # each line "key value" that is typed becomes a message
//	go run ./examples/broker -port 9092 -topic comments,comments-dead    # the same, and another topic
//
// It is a program of its own because its library takes longer to compile than all the rest of the quickstart.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink/kafka"
)

const partitions = 4 // of each topic

func main() {
	port := flag.Int("port", 0, "port to listen on (default: a free one)")
	topics := flag.String("topic", "", "topics to create, separated by commas, with 4 partitions each; lines of standard input are written to the first (default: none)")
	flag.Parse()
	if err := run(*port, *topics, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "broker:", err)
		os.Exit(1)
	}
}

func run(port int, topics string, input io.Reader, output io.Writer) error {
	options := []kfake.Opt{kfake.NumBrokers(1)}
	if port != 0 {
		options = append(options, kfake.Ports(port))
	}
	if topics != "" {
		options = append(options, kfake.SeedTopics(partitions, strings.Split(topics, ",")...))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if _, err = fmt.Fprintln(output, strings.Join(cluster.ListenAddrs(), ",")); err != nil {
		return err
	}
	if topics == "" {
		_, err = io.Copy(io.Discard, input)
		return err
	}
	topic, _, _ := strings.Cut(topics, ",")
	return write(cluster.ListenAddrs(), topic, bufio.NewScanner(input))
}

// write writes a message for each line: its first word is the key, the rest the value.
func write(brokers []string, topic string, lines *bufio.Scanner) error {
	s, err := kafka.New(brokers, topic, kafka.Config{})
	if err != nil {
		return err
	}
	w, err := s.Open()
	if err != nil {
		return err
	}
	defer func() { _, _ = w.Close(), s.Close() }() // each Write has waited for the broker
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if err := w.Write(context.Background(), []keystrand.Message{{Key: []byte(key), Value: []byte(value)}}); err != nil {
			return err
		}
	}
	return lines.Err()
}
