package kafkabroker

import (
	"strings"
	"testing"
)

func TestNewRefusesAddressesThatCannotWork(t *testing.T) {
	for _, addresses := range []string{"localhost", "localhost:", ":x", "a:1,,b:2", "kafka://localhost:9092", "localhost:70000", " "} {
		if _, err := New(addresses, 0); err == nil || !strings.Contains(err.Error(), "use host:port") {
			t.Errorf("New(%q) = %v, want an error that says what to use", addresses, err)
		}
	}
}

func TestNewTakesOneAddressSeveralOrNone(t *testing.T) {
	for _, addresses := range []string{"", "localhost:9092", "a:1,b:2"} {
		if _, err := New(addresses, 0); err != nil {
			t.Errorf("New(%q) = %v", addresses, err)
		}
	}
}
