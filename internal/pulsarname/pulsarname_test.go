package pulsarname

import (
	"strings"
	"testing"
)

func TestCheckURL(t *testing.T) {
	for text, want := range map[string]string{
		"pulsar://localhost:6650":            "",
		"pulsar+ssl://a:6651,b:6651/":        "",
		"Pulsar://a,b":                       "",
		"pulsar://[::1]:6650,[::2]:6650":     "",
		"localhost:6650":                     "want pulsar://host:6650",
		"http://me:secret@localhost":         "want pulsar://host:6650",
		"":                                   "want pulsar://host:6650",
		"pulsar://":                          "names no host",
		"pulsar://a:6650,":                   "names no host",
		"pulsar://a:6650,pulsar://b:6650":    "separated by commas",
		"pulsar://::1:6650":                  "separated by commas",
		"pulsar://me:secret@localhost:6650":  "use Config.Authentication",
		"pulsar://localhost:secret:@example": "use Config.Authentication",
	} {
		switch err := CheckURL(text); {
		case want == "" && err != nil:
			t.Errorf("%q: %v, want no error", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want an error with %q", text, err, want)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: the error contains the password: %v", text, err)
		}
	}
}

func TestCheckTopic(t *testing.T) {
	for name, want := range map[string]string{
		"orders":                            "",
		"orders-partition-3":                "",
		"my orders, ü#%?":                   "",
		"orders\n":                          "white space",
		" orders":                           "white space",
		"public/default/orders\t":           "white space",
		"or\x00ders":                        "control character",
		"tenant/namespace/orders":           "",
		"tenant/cluster/namespace/orders":   "",
		"persistent://tenant/space/orders":  "",
		"persistent://tenant/space/a/b/c":   "",
		"":                                  "empty",
		"namespace/orders":                  "want topic, or",
		"persistent://orders":               "want topic, or",
		"a/b/c/d/e":                         "want topic, or",
		"tenant//orders":                    "a part of the name is empty",
		"persistent://tenant/space/":        "a part of the name is empty",
		"non-persistent://tenant/space/a":   "keeps no messages",
		"topic://tenant/space/a":            "unknown domain",
		"all-partition-keys":                "expects a partition number",
		"orders-partition-99999999999999":   "expects a partition number",
		"persistent://t/space/a-partition-": "expects a partition number",
	} {
		switch err := CheckTopic(name); {
		case want == "" && err != nil:
			t.Errorf("%q: %v, want no error", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want an error with %q", name, err, want)
		}
	}
}

func TestEncrypts(t *testing.T) {
	for text, want := range map[string]bool{"pulsar://a": false, "pulsar+ssl://a": true, "Pulsar+SSL://a": true, "a": false} {
		if got := Encrypts(text); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}

func TestFull(t *testing.T) {
	for topic, want := range map[string]string{
		"orders-partition-3":                 "persistent://public/default/orders-partition-3",
		"tenant/ns/orders":                   "persistent://tenant/ns/orders",
		"persistent://public/default/orders": "persistent://public/default/orders",
	} {
		if got := Full(topic); got != want {
			t.Errorf("Full(%s) = %s, want %s", topic, got, want)
		}
	}
}
