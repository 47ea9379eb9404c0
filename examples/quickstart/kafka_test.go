package main

import (
	"strings"
	"testing"
)

func TestNewBrokerRefusesAddressesThatCannotWork(t *testing.T) {
	for _, addresses := range []string{"localhost", "localhost:", ":x", "a:1,,b:2", "kafka://localhost:9092", "localhost:70000", " "} {
		if _, err := newBroker(addresses); err == nil || !strings.Contains(err.Error(), "use host:port") {
			t.Errorf("newBroker(%q) = %v, want an error that says what to use", addresses, err)
		}
	}
}

func TestNewBrokerTakesOneAddressSeveralOrNone(t *testing.T) {
	for _, addresses := range []string{"", "localhost:9092", "a:1,b:2"} {
		if _, err := newBroker(addresses); err != nil {
			t.Errorf("newBroker(%q) = %v", addresses, err)
		}
	}
}
