// Package pulsartest calls the web service of a real Pulsar for live tests: it creates topics and namespaces, and unloads.
package pulsartest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/internal/pulsarname"
)

const (
	guard    = time.Minute            // bounds a call with all its retries
	interval = 250 * time.Millisecond // between retries
)

// Admin is the web service of a broker. It is safe for concurrent use.
type Admin struct {
	URL       string
	Token     string            // empty: none
	Transport http.RoundTripper // nil: http.DefaultTransport
}

// Path returns the path of a topic, given by its full name.
func Path(topic string) string { return strings.Replace(topic, "://", "/", 1) }

// Do sends a request. body and answer are JSON; nil: none. It retries for a minute while the status is 5xx: a busy broker
// (4.0.8) fails sound requests.
func (a *Admin) Do(ctx context.Context, method, path string, body, answer any) error {
	return a.do(ctx, method, path, body, answer, 0)
}

// do is Do. The status done, in the answer to a retry, means that an earlier attempt succeeded.
func (a *Admin) do(ctx context.Context, method, path string, body, answer any, done int) error {
	ctx, cancel := context.WithTimeout(ctx, guard)
	defer cancel()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	tries := 0
	return retry(ctx, func() (bool, error) {
		tries++
		err := a.once(ctx, method, path, text, answer)
		if tries > 1 && done != 0 && statusOf(err) == done {
			return false, nil
		}
		if err != nil {
			err = fmt.Errorf("%s %s: %w", method, path, err)
		}
		return IsFault(err), err
	})
}

// Create creates a topic with this many partitions, or an unpartitioned one for 0.
func (a *Admin) Create(ctx context.Context, topic string, partitions int) error {
	if partitions == 0 {
		return a.do(ctx, http.MethodPut, Path(topic), nil, nil, http.StatusConflict)
	}
	err := a.do(ctx, http.MethodPut, Path(topic)+"/partitions", partitions, nil, http.StatusConflict)
	if err != nil {
		return err
	}
	// The conflict can also be a single partition created by a client.
	var made struct{ Partitions int }
	if err := a.Do(ctx, http.MethodGet, Path(topic)+"/partitions", nil, &made); err != nil {
		return err
	}
	if made.Partitions != partitions {
		return fmt.Errorf("create %s: it has %d partitions, want %d", topic, made.Partitions, partitions)
	}
	return nil
}

// Remove deletes a topic with this many partitions, or an unpartitioned one for 0. It also deletes partitions that reappear:
// until the broker has forgotten the topic, it creates a partition for each client that attaches. While one exists, it refuses
// to create the topic again.
func (a *Admin) Remove(ctx context.Context, topic string, partitions int) error {
	if partitions == 0 {
		return a.remove(ctx, topic)
	}
	ctx, cancel := context.WithTimeout(ctx, guard)
	defer cancel()
	if err := a.do(ctx, http.MethodDelete, Path(topic)+"/partitions?force=true", nil, nil, http.StatusNotFound); err != nil {
		return err
	}
	namespace := Path(topic)[:strings.LastIndexByte(Path(topic), '/')]
	return retry(ctx, func() (bool, error) {
		var topics []string
		if err := a.Do(ctx, http.MethodGet, namespace, nil, &topics); err != nil {
			return false, err
		}
		var left error
		for _, t := range topics {
			if !strings.HasPrefix(t, topic+pulsarname.PartitionSuffix) {
				continue
			}
			left = fmt.Errorf("%s reappeared", t)
			if err := a.remove(ctx, t); err != nil && statusOf(err) != http.StatusNotFound {
				return false, err
			}
		}
		return left != nil, left
	})
}

func (a *Admin) remove(ctx context.Context, topic string) error {
	return a.do(ctx, http.MethodDelete, Path(topic)+"?force=true", nil, nil, http.StatusNotFound)
}

// Namespace creates a namespace with a unique name and sets its policies. It is never deleted: while a broker (4.0.8) deletes a
// namespace, it cuts the connection on which it reads all policies, and answers attachments to any topic with UnknownError.
func (a *Admin) Namespace(ctx context.Context, policies map[string]any) (string, error) {
	name := fmt.Sprintf("public/test-%d", time.Now().UnixNano())
	if err := a.Do(ctx, http.MethodPut, "namespaces/"+name, nil, nil); err != nil {
		return "", err
	}
	for policy, value := range policies {
		if err := a.Do(ctx, http.MethodPost, "namespaces/"+name+"/"+policy, value, nil); err != nil {
			return "", err
		}
	}
	return name, nil
}

// Unload closes a topic on its broker, as a cluster does to move it. The next client loads it again.
func (a *Admin) Unload(ctx context.Context, topic string) error {
	return a.Do(ctx, http.MethodPut, Path(topic)+"/unload", nil, nil)
}

// once sends a request once.
func (a *Admin) once(ctx context.Context, method, path string, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.URL+"/admin/v2/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if a.Token != "" {
		req.Header.Set("Authorization", "Bearer "+a.Token)
	}
	client := http.Client{Transport: a.Transport}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = &statusError{status: res.StatusCode, text: string(text)}
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}

// retry calls f while it asks to be called again. When ctx ends it returns the last error of f.
func retry(ctx context.Context, f func() (again bool, err error)) error {
	var last error
	err := backoff.Retry(func() error {
		again, err := f()
		if again {
			last = err
		} else if err != nil {
			err = backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(interval), ctx))
	if err != nil && last != nil && ctx.Err() != nil {
		return last
	}
	return err
}
