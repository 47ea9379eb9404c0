package main

import (
	"strings"
	"testing"
)

func TestNewBrokerRefusesURLsThatCannotWork(t *testing.T) {
	for _, tt := range []struct{ url, admin, want string }{
		{"", "", "-url"},
		{"localhost:6650", "", "pulsar://host:6650"},
		{"http://localhost:8080", "", "pulsar://host:6650"},
		{"pulsar://", "", "-url"},
		{"pulsar://a:6650,b:6650", "", "with -admin"},
		{"pulsar://a:6650", "localhost:8080", "use a URL like http://localhost:8080"},
		{"pulsar://a:6650", "http://", "use a URL like http://localhost:8080"},
		{"pulsar://a:6650", "pulsar://a:6650", "use a URL like http://localhost:8080"},
	} {
		if _, err := newBroker(tt.url, tt.admin); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("newBroker(%q, %q) = %v, want an error with %q", tt.url, tt.admin, err, tt.want)
		}
	}
}

func TestNewBrokerFindsTheWebServiceOnTheSameHost(t *testing.T) {
	for url, want := range map[string]string{
		"pulsar://broker:6650":    "http://broker:8080",
		"pulsar://broker":         "http://broker:8080",
		"pulsar+ssl://[::1]:6651": "http://[::1]:8080",
	} {
		b, err := newBroker(url, "")
		if err != nil {
			t.Errorf("newBroker(%q) = %v", url, err)
			continue
		}
		if b.admin != want {
			t.Errorf("web service of %q = %q, want %q", url, b.admin, want)
		}
	}
}

func TestNewBrokerTakesTheWebServiceThatIsNamed(t *testing.T) {
	b, err := newBroker("pulsar://a:6650,b:6650", "https://web:8443")
	if err != nil {
		t.Fatal(err)
	}
	if b.admin != "https://web:8443" {
		t.Errorf("web service = %q", b.admin)
	}
}
