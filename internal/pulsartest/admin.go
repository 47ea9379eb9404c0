// Package pulsartest asks the web service of a real Pulsar for what live tests need: topics, namespaces, an unload.
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
	guard    = time.Minute            // against a hang; no request of a test takes as long, with all its tries
	interval = 250 * time.Millisecond // between tries
)

// Admin is the web service of a broker. Any number of goroutines may use one at once.
type Admin struct {
	URL       string
	Token     string            // none, if empty
	Transport http.RoundTripper // http.DefaultTransport, if nil
}

// Path returns where the web service keeps a topic, which has its full name.
func Path(topic string) string { return strings.Replace(topic, "://", "/", 1) }

// Do sends a request; body and answer are JSON, nil: none. It asks again, for a minute, while the answer is 5xx: what tests
// ask for is sound, but a broker (4.0.8) that is busy loses races with itself.
func (a *Admin) Do(ctx context.Context, method, path string, body, answer any) error {
	return a.do(ctx, method, path, body, answer, 0)
}

// do is Do. An answer with the status done to a later try says that an earlier one has done its work after all.
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

// Create makes a topic with so many partitions, 0: without any.
func (a *Admin) Create(ctx context.Context, topic string, partitions int) error {
	if partitions == 0 {
		return a.do(ctx, http.MethodPut, Path(topic), nil, nil, http.StatusConflict)
	}
	err := a.do(ctx, http.MethodPut, Path(topic)+"/partitions", partitions, nil, http.StatusConflict)
	if err != nil {
		return err
	}
	// A conflict can also be one partition that somebody has made.
	var made struct{ Partitions int }
	if err := a.Do(ctx, http.MethodGet, Path(topic)+"/partitions", nil, &made); err != nil {
		return err
	}
	if made.Partitions != partitions {
		return fmt.Errorf("create %s: it has %d partitions, want %d", topic, made.Partitions, partitions)
	}
	return nil
}

// Remove deletes a topic with so many partitions, 0: without any, and of those what comes back: until the broker has forgotten the whole, it
// makes a partition that is gone for everybody who attaches, and while there is one it refuses to make the topic anew.
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
			left = fmt.Errorf("%s comes again", t)
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

// Namespace makes a namespace with a name of its own and sets its policies. It stays: while a namespace goes, the broker
// (4.0.8) cuts the connection over which it reads the policies of all of them, and answers who attaches to any topic
// meanwhile with UnknownError.
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

// Unload closes a topic on its broker, as a cluster does that moves it; who attaches next loads it again.
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

// retry calls f while it says that it wants to be called again. When ctx ends it returns why f wanted that, which says more
// than that the time is over.
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
