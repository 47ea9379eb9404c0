package pulsar

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// checkURL looks at what the library would only say at the first connection, or not at all.
func checkURL(text string) error {
	scheme, rest, _ := strings.Cut(text, "://")
	if s := strings.ToLower(scheme); s != "pulsar" && s != "pulsar+ssl" {
		return fmt.Errorf("pulsar: URL %q: want pulsar://host:6650 or pulsar+ssl://host:6651", withoutPassword(text))
	}
	if strings.Contains(rest, "@") {
		return fmt.Errorf("pulsar: URL %q has a name or a password, of which brokers hear nothing: use Config.Authentication", withoutPassword(text))
	}
	hosts, _, _ := strings.Cut(rest, "/")
	for host := range strings.SplitSeq(hosts, ",") {
		u, err := url.Parse(scheme + "://" + host)
		switch {
		case err != nil, strings.HasSuffix(host, ":"), strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "["):
			return fmt.Errorf("pulsar: URL %q: %q is not host or host:port; several are separated by commas", text, host)
		case u.Hostname() == "":
			return fmt.Errorf("pulsar: URL %q names no host", text)
		}
	}
	return nil
}

// withoutPassword returns a URL as it may be told.
func withoutPassword(text string) string {
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

// sameAs tells which names mean the same topic as this one: brokers know each by its full name.
func sameAs(topic string) func(string) bool {
	return func(other string) bool { return full(other) == full(topic) }
}

// checkTopics returns all that is wrong with the topics to read.
func checkTopics(topics []string) error {
	var errs []error
	for i, t := range topics {
		if err := checkTopic(t); err != nil {
			errs = append(errs, err)
			continue
		}
		if j := slices.IndexFunc(topics[:i], sameAs(t)); j >= 0 {
			errs = append(errs, fmt.Errorf("pulsar: topic %q is given twice, also as %q", t, topics[j]))
		}
		for _, whole := range topics {
			if n, of := strings.CutPrefix(full(t), full(whole)+partitionSuffix); of && isNumber(n) {
				errs = append(errs, fmt.Errorf("pulsar: topic %q is a partition of %q, which is given, too, and read with all of them", t, whole))
			}
		}
	}
	return errors.Join(errs...)
}

// partitionSuffix stands between the name of a topic and the number of a partition.
const partitionSuffix = "-partition-"

// checkTopic tells what is wrong with a topic's name: topic, tenant/namespace/topic, or the latter after persistent://. Names of old
// have a cluster between tenant and namespace.
func checkTopic(name string) error {
	domain, rest, whole := strings.Cut(name, "://")
	if !whole {
		domain, rest = "persistent", name
	}
	parts := strings.Split(rest, "/")
	switch {
	case name == "":
		return errors.New("pulsar: the name of a topic is empty")
	case domain == "non-persistent":
		return fmt.Errorf("pulsar: topic %q keeps no messages: what is not settled at a restart would be lost", name)
	case domain != "persistent":
		return fmt.Errorf("pulsar: topic %q is of an unknown domain: want persistent://tenant/namespace/topic", name)
	case whole && len(parts) < 3, !whole && len(parts) == 2, !whole && len(parts) > 4:
		return fmt.Errorf("pulsar: topic %q: want topic, or tenant/namespace/topic", name)
	case slices.Contains(parts[:min(len(parts), 3)], ""):
		return fmt.Errorf("pulsar: topic %q: a part of the name is empty", name)
	case strings.Contains(rest, partitionSuffix) && !isNumber(rest[strings.LastIndex(rest, "-")+1:]):
		return fmt.Errorf("pulsar: topic %q: the client library takes what has %q in its name for a partition, and finds no number behind it", name, partitionSuffix)
	}
	return nil
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}

// among tells which topics of an After are not read.
func (s Start) among(topics []string, pattern *regexp.Regexp) error {
	var errs []error
	for topic := range s.ids {
		if !slices.Contains(topics, topic) && (pattern == nil || !pattern.MatchString(topic)) {
			errs = append(errs, fmt.Errorf("pulsar: Start is After messages of %q, which is not read: want a topic as it is given to New", topic))
		}
	}
	return errors.Join(errs...)
}
