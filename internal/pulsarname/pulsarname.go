// Package pulsarname checks URLs and topic names of Apache Pulsar. It finds errors that the client library (v0.19.0) reports
// only when it connects, or never: it retries the look-up of some names forever. It names the setting behind a refusal of
// brokers.
package pulsarname

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// PartitionSuffix separates the name of a topic from the number of a partition.
const PartitionSuffix = "-partition-"

// CheckURL returns an error if the URL of a cluster is malformed. It may name several hosts. No error contains a password.
func CheckURL(text string) error {
	scheme, rest, _ := strings.Cut(text, "://")
	if s := strings.ToLower(scheme); s != "pulsar" && s != "pulsar+ssl" {
		return fmt.Errorf("URL %q: want pulsar://host:6650 or pulsar+ssl://host:6651", WithoutPassword(text))
	}
	if strings.Contains(rest, "@") {
		return fmt.Errorf("URL %q contains credentials, which are never sent: use Config.Authentication", WithoutPassword(text))
	}
	hosts, _, _ := strings.Cut(rest, "/")
	for host := range strings.SplitSeq(hosts, ",") {
		u, err := url.Parse(scheme + "://" + host)
		switch {
		case err != nil, strings.HasSuffix(host, ":"), strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "["):
			return fmt.Errorf("URL %q: %q is not host or host:port; several are separated by commas", text, host)
		case u.Hostname() == "":
			return fmt.Errorf("URL %q names no host", text)
		}
	}
	return nil
}

// Encrypts reports whether connections to the cluster of a URL are encrypted.
func Encrypts(text string) bool {
	scheme, _, _ := strings.Cut(text, "://")
	return strings.EqualFold(scheme, "pulsar+ssl")
}

// WithoutPassword returns a URL without credentials, for errors and logs.
func WithoutPassword(text string) string {
	at := strings.LastIndex(text, "@")
	if at < 0 {
		return text
	}
	scheme, _, found := strings.Cut(text[:at], "://")
	if !found {
		return text[at+1:]
	}
	return scheme + "://" + text[at+1:]
}

// Full returns the full name of a topic: persistent://tenant/namespace/topic. Brokers and the library's log use it.
func Full(topic string) string {
	switch {
	case strings.Contains(topic, "://"):
		return topic
	case strings.Contains(topic, "/"):
		return "persistent://" + topic
	}
	return "persistent://public/default/" + topic
}

// CheckTopic returns an error if a topic's name is malformed. It accepts topic, tenant/namespace/topic, and the latter after
// persistent://. Legacy names have a cluster between tenant and namespace.
func CheckTopic(name string) error {
	domain, rest, whole := strings.Cut(name, "://")
	if !whole {
		domain, rest = "persistent", name
	}
	parts := strings.Split(rest, "/")
	switch {
	case name == "":
		return errors.New("the name of a topic is empty")
	case Stray(name):
		return fmt.Errorf("topic %q begins or ends with white space, or contains a control character", name)
	case domain == "non-persistent":
		return fmt.Errorf("topic %q keeps no messages: nothing in it outlives a restart", name)
	case domain != "persistent":
		return fmt.Errorf("topic %q has an unknown domain: want persistent://tenant/namespace/topic", name)
	case whole && len(parts) < 3, !whole && len(parts) == 2, !whole && len(parts) > 4:
		return fmt.Errorf("topic %q: want topic, or tenant/namespace/topic", name)
	case slices.Contains(parts[:min(len(parts), 3)], ""):
		return fmt.Errorf("topic %q: a part of the name is empty", name)
	case strings.Contains(rest, PartitionSuffix) && !IsNumber(rest[strings.LastIndex(rest, "-")+1:]):
		return fmt.Errorf("topic %q: the client library expects a partition number after %q", name, PartitionSuffix)
	}
	return nil
}

// Stray reports whether a name begins or ends with white space, or contains a control character. Brokers accept such a name: for
// them it is another one.
func Stray(name string) bool {
	return strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl)
}

// IsNumber reports whether text is the number of a partition.
func IsNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}
