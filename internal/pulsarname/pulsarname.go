// Package pulsarname tells what brokers and the client library of Apache Pulsar (v0.19.0) do not take for a URL or for the
// name of a topic. The library itself says so at the first connection only, or looks such a name up for ever.
package pulsarname

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// PartitionSuffix stands between the name of a topic and the number of a partition.
const PartitionSuffix = "-partition-"

// CheckURL tells what is wrong with the URL of a cluster, which may name several hosts. No error has a password in it.
func CheckURL(text string) error {
	scheme, rest, _ := strings.Cut(text, "://")
	if s := strings.ToLower(scheme); s != "pulsar" && s != "pulsar+ssl" {
		return fmt.Errorf("URL %q: want pulsar://host:6650 or pulsar+ssl://host:6651", WithoutPassword(text))
	}
	if strings.Contains(rest, "@") {
		return fmt.Errorf("URL %q has a name or a password, of which brokers hear nothing: use Config.Authentication", WithoutPassword(text))
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

// Encrypts tells whether connections to the cluster of a URL are encrypted.
func Encrypts(text string) bool {
	scheme, _, _ := strings.Cut(text, "://")
	return strings.EqualFold(scheme, "pulsar+ssl")
}

// WithoutPassword returns a URL as it may be told.
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

// CheckTopic tells what is wrong with a topic's name: topic, tenant/namespace/topic, or the latter after persistent://. Names
// of old have a cluster between tenant and namespace.
func CheckTopic(name string) error {
	domain, rest, whole := strings.Cut(name, "://")
	if !whole {
		domain, rest = "persistent", name
	}
	parts := strings.Split(rest, "/")
	switch {
	case name == "":
		return errors.New("the name of a topic is empty")
	case domain == "non-persistent":
		return fmt.Errorf("topic %q keeps no messages: nothing in it outlives a restart", name)
	case domain != "persistent":
		return fmt.Errorf("topic %q is of an unknown domain: want persistent://tenant/namespace/topic", name)
	case whole && len(parts) < 3, !whole && len(parts) == 2, !whole && len(parts) > 4:
		return fmt.Errorf("topic %q: want topic, or tenant/namespace/topic", name)
	case slices.Contains(parts[:min(len(parts), 3)], ""):
		return fmt.Errorf("topic %q: a part of the name is empty", name)
	case strings.Contains(rest, PartitionSuffix) && !IsNumber(rest[strings.LastIndex(rest, "-")+1:]):
		return fmt.Errorf("topic %q: the client library takes what has %q in its name for a partition, and finds no number behind it", name, PartitionSuffix)
	}
	return nil
}

// IsNumber tells whether text is the number of a partition.
func IsNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}
