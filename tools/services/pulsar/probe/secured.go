package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
)

// secured tries the TLS listener, and checks the refusals that the live tests rely on.
func secured(ctx context.Context, a *admin, files, namespace, url string) error {
	ca := filepath.Join(files, "ca.pem")
	alice := filepath.Join(files, "alice.token")
	carol := filepath.Join(files, "carol.token")
	forged, err := forge(files)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(forged) }() // a failure leaves a useless token behind
	if err := roundtrip(ctx, a, namespace, true, clientOptions(url, ca, alice)); err != nil {
		return fmt.Errorf("alice in %s: %w", namespace, err)
	}
	for _, c := range []struct {
		name, ca, token, namespace string
		unauthorized               bool // false: the broker refuses the connection, and the client retries until it times out
	}{
		{"a user without permission", ca, carol, namespace, true},
		{"a user in another namespace", ca, alice, "public/default", true},
		{"no token", ca, "", namespace, false},
		{"a forged token", ca, forged, namespace, false},
		{"an unknown authority", "", alice, namespace, false},
	} {
		opts := clientOptions(url, c.ca, c.token)
		if !c.unauthorized {
			opts.OperationTimeout = 2 * time.Second
		}
		err := enter(opts, fmt.Sprintf("persistent://%s/probe-refused", c.namespace))
		// The client returns the broker's error as text, not as a type.
		if err == nil || c.unauthorized && !strings.Contains(err.Error(), "AuthorizationError") {
			return fmt.Errorf("%s: want a refusal (of permission: %v), got: %w", c.name, c.unauthorized, orNone(err))
		}
	}
	return nil
}

// enter only creates a producer.
func enter(opts pulsar.ClientOptions, topic string) error {
	client, err := pulsar.NewClient(opts)
	if err != nil {
		return err
	}
	defer client.Close()
	producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: topic})
	if err != nil {
		return err
	}
	producer.Close()
	return nil
}

// forge writes a token for the admin with a wrong signature, and returns its file.
func forge(dir string) (string, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	f, err := os.CreateTemp(dir, "forged-*.token")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(token(secret, "admin"))
	return f.Name(), errors.Join(err, f.Close())
}

func orNone(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}
