package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
	pulsarlog "github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/admin"
	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/admin/config"
	"github.com/apache/pulsar-client-go/pulsaradmin/pkg/utils"

	"github.com/keystrand/keystrand/examples/internal/show"
)

// pulsarBroker is a real Pulsar. Its web service creates the topic, because clients cannot create partitioned topics, and
// returns the acknowledgements.
type pulsarBroker struct {
	url    string
	admin  string
	topics admin.Topics

	mu  sync.Mutex
	ids map[post]entry // where each comment is stored; Fill has written all when it returns
}

// post is a comment by its post and its number there.
type post struct {
	name string
	n    int
}

// entry is a place in a partition's log, numbered by the broker.
type entry struct{ ledger, entry int64 }

func (e entry) after(o entry) bool {
	return e.ledger > o.ledger || e.ledger == o.ledger && e.entry > o.entry
}

// newBroker returns the Pulsar at serviceURL. adminURL is that of its web service; empty: port 8080 of the same host. It
// does not connect.
func newBroker(serviceURL, adminURL string) (*pulsarBroker, error) {
	if _, err := open(serviceURL, "check", "check"); err != nil {
		return nil, fmt.Errorf("-url: %w", err)
	}
	if adminURL == "" {
		u, err := url.Parse(serviceURL)
		if err != nil || strings.Contains(u.Host, ",") {
			return nil, fmt.Errorf("-url %q names no single host: give the URL of the web service with -admin", serviceURL)
		}
		adminURL = "http://" + net.JoinHostPort(u.Hostname(), "8080")
	}
	if u, err := url.Parse(adminURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("-admin %q: use a URL like http://localhost:8080", adminURL)
	}
	web, err := admin.New(&config.Config{WebServiceURL: adminURL})
	if err != nil {
		return nil, fmt.Errorf("-admin %q: %w", adminURL, err)
	}
	return &pulsarBroker{url: serviceURL, admin: adminURL, topics: web.Topics(), ids: map[post]entry{}}, nil
}

// Start implements [show.Broker].
func (b *pulsarBroker) Start(_ context.Context, out *show.Output) error {
	out.Line("Using the Pulsar at %s, and its web service at %s.", b.url, b.admin)
	return nil
}

// Flags implements [show.Broker].
func (b *pulsarBroker) Flags() []string { return []string{"-url", b.url} }

// Freed implements [show.Broker].
func (b *pulsarBroker) Freed() string {
	return "as soon as the broker sees that the connections are closed"
}

// Close implements [show.Broker].
func (b *pulsarBroker) Close() error { return nil }

// Fill implements [show.Broker]. It writes each message as an entry of its own, without batches: a broker with default
// settings forgets which messages inside a batch are acknowledged (see docs/pulsar.md).
func (b *pulsarBroker) Fill(ctx context.Context, topic string, messages int) (busiest int, err error) {
	name, err := utils.GetTopicName(topic)
	if err != nil {
		return 0, err
	}
	if err := b.topics.CreateWithContext(ctx, *name, show.Partitions); err != nil {
		return 0, fmt.Errorf("create topic %s: %w; is %s the web service of the Pulsar? Set it with -admin", topic, err, b.admin)
	}
	client, err := pulsar.NewClient(pulsar.ClientOptions{URL: b.url, Logger: pulsarlog.DefaultNopLogger()})
	if err != nil {
		return 0, err
	}
	defer client.Close()
	producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: topic, SendTimeout: -1, DisableBatching: true})
	if err != nil {
		return 0, err
	}
	defer producer.Close()
	var failed error
	busiest, err = show.Draw(messages, func(key, value []byte) error {
		c := post{name: string(key)}
		if _, err := fmt.Sscan(string(value), &c.n); err != nil {
			return err
		}
		producer.SendAsync(ctx, &pulsar.ProducerMessage{Key: c.name, Payload: value},
			func(id pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				if err != nil {
					failed = err
					return
				}
				b.ids[c] = entry{id.LedgerID(), id.EntryID()}
			})
		return nil
	})
	if err == nil {
		err = producer.FlushWithCtx(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		err = failed
	}
	return busiest, err
}

// Committed implements [show.Broker]. It reads the cursors of the subscription: in each partition everything up to one entry
// is acknowledged, and some ranges after it.
func (b *pulsarBroker) Committed(ctx context.Context, topic, subscription string) (func(show.Comment) bool, error) {
	type stretch struct{ after, to entry }
	acknowledged := make([][]stretch, show.Partitions)
	for i := range acknowledged {
		name, err := utils.GetTopicName(fmt.Sprintf("%s-partition-%d", topic, i))
		if err != nil {
			return nil, err
		}
		stats, err := b.topics.GetInternalStatsWithContext(ctx, *name)
		if err != nil {
			return nil, err
		}
		cursor := stats.Cursors[subscription]
		up := stretch{after: entry{-1, -1}}
		if _, err := fmt.Sscanf(cursor.MarkDeletePosition, "%d:%d", &up.to.ledger, &up.to.entry); err != nil {
			return nil, fmt.Errorf("cursor of partition %d at %q: %w", i, cursor.MarkDeletePosition, err)
		}
		acknowledged[i] = append(acknowledged[i], up)
		for text := range strings.SplitSeq(strings.Trim(cursor.IndividuallyDeletedMessages, "[]"), ",") {
			var s stretch
			if _, err := fmt.Sscanf(text, "(%d:%d..%d:%d", &s.after.ledger, &s.after.entry, &s.to.ledger, &s.to.entry); err == nil {
				acknowledged[i] = append(acknowledged[i], s)
			}
		}
	}
	return func(c show.Comment) bool {
		at := b.ids[post{c.Post, c.N}]
		for _, s := range acknowledged[c.Partition] {
			if at.after(s.after) && !at.after(s.to) {
				return true
			}
		}
		return false
	}, nil
}
