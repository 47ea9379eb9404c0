package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
)

const count = 100

// clientOptions returns the options of a client with the certificate authority and token of these files; "" means none.
func clientOptions(url, caFile, tokenFile string) pulsar.ClientOptions {
	opts := pulsar.ClientOptions{
		URL:                   url,
		TLSTrustCertsFilePath: caFile,
		TLSValidateHostname:   true,
		OperationTimeout:      20 * time.Second,
		Logger:                log.NewLoggerWithSlog(slog.New(slog.DiscardHandler)),
	}
	if tokenFile != "" {
		opts.Authentication = pulsar.NewAuthenticationTokenFromFile(tokenFile)
	}
	return opts
}

// roundtrip writes one batch to a new topic, reads it, acks every other message, reads again as another consumer, and
// deletes the topic. The redelivered messages show whether the broker keeps batch-index acks; its API does not tell.
func roundtrip(ctx context.Context, a *admin, namespace string, extras bool, opts pulsar.ClientOptions) (err error) {
	topic := fmt.Sprintf("persistent://%s/probe-%d-%d", namespace, os.Getpid(), time.Now().UnixNano())
	client, err := pulsar.NewClient(opts)
	if err != nil {
		return err
	}
	defer client.Close()

	consumer, err := subscribe(client, topic)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", topic, err)
	}
	defer func() {
		consumer.Close()
		err = errors.Join(err, a.deleteTopic(context.WithoutCancel(ctx), topic))
	}()
	var all, odd []string
	for i := range count {
		all = append(all, strconv.Itoa(i))
		if i%2 == 1 {
			odd = append(odd, all[i])
		}
	}
	if err = produce(ctx, client, topic, all); err != nil {
		return fmt.Errorf("write to %s: %w", topic, err)
	}

	messages, err := receive(ctx, consumer, len(all))
	if err != nil {
		return fmt.Errorf("read %s: %w", topic, err)
	}
	if got := keys(messages); !slices.Equal(got, all) {
		return fmt.Errorf("%s: wrote %v, read %v", topic, all, got)
	}
	var settled []pulsar.MessageID
	for i, m := range messages {
		switch index := m.Index(); {
		case (index != nil) != extras:
			return fmt.Errorf("%s: message %d: has an index = %v, want %v", topic, i, index != nil, extras)
		case index != nil && *index != uint64(i):
			return fmt.Errorf("%s: message %d: index = %d", topic, i, *index)
		}
		if i%2 == 0 {
			settled = append(settled, m.ID())
		}
	}
	if err = consumer.AckIDList(settled); err != nil {
		return fmt.Errorf("ack every other message of %s: %w", topic, err)
	}
	consumer.Close()

	if consumer, err = subscribe(client, topic); err != nil {
		return fmt.Errorf("subscribe to %s again: %w", topic, err)
	}
	want := all
	if extras {
		want = odd
	}
	// A last message marks the end of the redelivered ones.
	if err = produce(ctx, client, topic, []string{"end"}); err != nil {
		return fmt.Errorf("write to %s: %w", topic, err)
	}
	messages, err = receive(ctx, consumer, len(want)+1)
	if err != nil {
		return fmt.Errorf("read %s again: %w", topic, err)
	}
	if got := keys(messages); !slices.Equal(got, append(want, "end")) {
		return fmt.Errorf("%s: want batch-index acks = %v, but after acks of every other message the broker redelivered %v", topic, extras, got)
	}
	if err = consumer.AckIDCumulative(messages[len(messages)-1].ID()); err != nil {
		return fmt.Errorf("ack %s: %w", topic, err)
	}
	return nil
}

func subscribe(client pulsar.Client, topic string) (pulsar.Consumer, error) {
	return client.Subscribe(pulsar.ConsumerOptions{
		Topic: topic, SubscriptionName: "probe", Type: pulsar.Exclusive,
		SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest,
		AckWithResponse:             true, EnableBatchIndexAcknowledgment: true,
	})
}

// produce writes all keys as one batch.
func produce(ctx context.Context, client pulsar.Client, topic string, keys []string) error {
	producer, err := client.CreateProducer(pulsar.ProducerOptions{
		Topic: topic, BatchingMaxMessages: count, BatchingMaxPublishDelay: time.Minute, SendTimeout: 20 * time.Second,
	})
	if err != nil {
		return err
	}
	defer producer.Close()
	results := make(chan error, len(keys))
	for _, key := range keys {
		producer.SendAsync(ctx, &pulsar.ProducerMessage{Key: key, Payload: []byte("probe")},
			func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { results <- err })
	}
	if err := producer.FlushWithCtx(ctx); err != nil {
		return err
	}
	for range keys {
		select {
		case err := <-results:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func receive(ctx context.Context, consumer pulsar.Consumer, n int) ([]pulsar.Message, error) {
	var messages []pulsar.Message
	for len(messages) < n {
		m, err := consumer.Receive(ctx)
		if err != nil {
			return nil, fmt.Errorf("received %d of %d messages: %w", len(messages), n, err)
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func keys(messages []pulsar.Message) []string {
	list := make([]string, len(messages))
	for i, m := range messages {
		list[i] = m.Key()
	}
	return list
}
