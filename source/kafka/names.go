package kafka

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

const (
	maxTopicName = 249       // as brokers have it
	maxGroupName = 1<<15 - 1 // its length is an int16 on the wire
)

// checkNames returns what is wrong with the required arguments of New, whatever cluster they are meant for.
func checkNames(brokers []string, group string, topics []string) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	if len(brokers) == 0 {
		wrong("no brokers are given")
	}
	for _, b := range brokers {
		if err := checkBroker(b); err != nil {
			wrong("broker %q is not host:port: %w", b, err)
		}
	}
	if group == "" {
		wrong("no group is given")
	}
	if len(group) > maxGroupName {
		wrong("the name of the group that begins with %q has %d bytes, at most %d can be sent", group[:32], len(group), maxGroupName)
	}
	if len(topics) == 0 {
		wrong("no topics are given")
	}
	for i, t := range topics {
		switch why := badTopic(t); {
		case t == "":
			wrong("the name of a topic is empty")
		case why != "":
			wrong("no broker has a topic %q: %s", t[:min(len(t), maxTopicName)], why)
		case slices.Contains(topics[:i], t):
			wrong("topic %q is given twice", t)
		}
	}
	return errors.Join(errs...)
}

func checkBroker(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 1<<16-1 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return nil
}

// badTopic says why brokers refuse a name, as Kafka's org.apache.kafka.common.internals.Topic does. Empty: they do not.
func badTopic(name string) string {
	foreign := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}
	switch {
	case name == "." || name == "..":
		return "that is a folder"
	case len(name) > maxTopicName:
		return fmt.Sprintf("it has %d characters, at most %d are allowed", len(name), maxTopicName)
	case strings.ContainsFunc(name, foreign):
		return "only a-z, A-Z, 0-9, '.', '_' and '-' are allowed"
	}
	return ""
}
