package cluster

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

const (
	maxTopicName = 249       // a broker's limit
	maxGroupName = 1<<15 - 1 // the length is an int16 on the wire
)

// CheckNames returns all errors in names that no cluster could accept.
func CheckNames(brokers []string, group string, topics []string) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	if len(brokers) == 0 {
		wrong("no brokers")
	}
	for _, b := range brokers {
		if err := checkBroker(b); err != nil {
			wrong("broker %q is not host:port: %w", b, err)
		}
	}
	if group == "" {
		wrong("no group")
	}
	if len(group) > maxGroupName {
		wrong("group %q...: the name has %d bytes; at most %d can be sent", group[:32], len(group), maxGroupName)
	}
	if len(topics) == 0 {
		wrong("no topics")
	}
	for i, t := range topics {
		switch why := badTopic(t); {
		case t == "":
			wrong("a topic name is empty")
		case why != "":
			wrong("topic %q: no broker accepts the name: %s", t[:min(len(t), maxTopicName)], why)
		case slices.Contains(topics[:i], t):
			wrong("topic %q is listed twice", t)
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

// badTopic returns why brokers refuse a name, by the rules of org.apache.kafka.common.internals.Topic; empty if they accept it.
func badTopic(name string) string {
	foreign := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}
	switch {
	case name == "." || name == "..":
		return "\".\" and \"..\" are reserved"
	case len(name) > maxTopicName:
		return fmt.Sprintf("it has %d characters; at most %d are allowed", len(name), maxTopicName)
	case strings.ContainsFunc(name, foreign):
		return "only a-z, A-Z, 0-9, '.', '_' and '-' are allowed"
	}
	return ""
}
