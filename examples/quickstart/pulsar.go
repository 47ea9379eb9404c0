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
)

// pulsarBroker is a real Pulsar. Its web service makes the topic, since clients cannot make one with partitions, and tells
// what is acknowledged.
type pulsarBroker struct {
	url    string
	topics admin.Topics

	mu  sync.Mutex
	ids map[comment]entry // of post and n: where it is stored
}

// entry is a place in a partition's log as the broker numbers it.
type entry struct{ ledger, entry int64 }

func (e entry) after(o entry) bool {
	return e.ledger > o.ledger || e.ledger == o.ledger && e.entry > o.entry
}

func newPulsar(serviceURL, adminURL string) (*pulsarBroker, error) {
	if adminURL == "" {
		u, err := url.Parse(serviceURL)
		if err != nil {
			return nil, err
		}
		adminURL = "http://" + net.JoinHostPort(u.Hostname(), "8080")
	}
	web, err := admin.New(&config.Config{WebServiceURL: adminURL})
	if err != nil {
		return nil, err
	}
	return &pulsarBroker{url: serviceURL, topics: web.Topics(), ids: map[comment]entry{}}, nil
}

func (b *pulsarBroker) flags() []string { return []string{"-pulsar", b.url} }

func (b *pulsarBroker) freed() string { return "at once: the broker sees its connections end" }

func (b *pulsarBroker) close() {}

// fill writes each message as an entry of its own: what is settled of a batch is forgotten by a broker as it comes (see
// docs/pulsar.md).
func (b *pulsarBroker) fill(ctx context.Context, topic string, messages int) (hottest int, err error) {
	name, err := utils.GetTopicName(topic)
	if err != nil {
		return 0, err
	}
	if err := b.topics.CreateWithContext(ctx, *name, partitions); err != nil {
		return 0, fmt.Errorf("make topic %s: %w (is -admin right?)", topic, err)
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
	hottest, err = draw(messages, func(key, value []byte) error {
		c := comment{post: string(key)}
		if _, err := fmt.Sscan(string(value), &c.n); err != nil {
			return err
		}
		producer.SendAsync(ctx, &pulsar.ProducerMessage{Key: c.post, Payload: value},
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
	return hottest, err
}

// committed asks for the subscription's cursors: everything up to a place is acknowledged, and some stretches behind it.
func (b *pulsarBroker) committed(ctx context.Context, topic, subscription string) (func(comment) bool, error) {
	type stretch struct{ after, to entry }
	acknowledged := make([][]stretch, partitions)
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
	return func(c comment) bool {
		at := b.ids[comment{post: c.post, n: c.n}]
		for _, s := range acknowledged[c.partition] {
			if at.after(s.after) && !at.after(s.to) {
				return true
			}
		}
		return false
	}, nil
}
