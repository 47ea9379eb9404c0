package pulsar

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeWeb is the web service of a fake broker, without a network: waiting for one stops the clock of a bubble.
type fakeWeb struct {
	b *fakeBroker

	mu     sync.Mutex
	status int   // status of every answer; 0: 200
	err    error // error of every request
	hang   bool  // no answer until the request ends
	asked  int
}

// set changes the answers.
func (w *fakeWeb) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *fakeWeb) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.asked++
	status, err, hang := w.status, w.err, w.hang
	w.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	var topics []string
	w.b.mu.Lock()
	if strings.HasSuffix(r.URL.Path, "/partitioned") {
		for topic, n := range w.b.partitions {
			if n > 0 {
				topics = append(topics, topic)
			}
		}
	} else {
		for topic := range w.b.topics {
			topics = append(topics, topic)
		}
	}
	w.b.mu.Unlock()
	slices.Sort(topics)
	body, err := json.Marshal(topics)
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: make(http.Header), Body: io.NopCloser(strings.NewReader(string(body))), Request: r,
	}, err
}

// joinWeb is join for a source with a pattern.
func joinWeb(t *testing.T, b *fakeBroker, cfg Config, topics ...string) (*member, *fakeWeb) {
	t.Helper()
	if cfg.AdminURL == "" {
		cfg.AdminURL = "http://fake:8080"
	}
	m := join(t, b, cfg, topics...)
	w := &fakeWeb{b: b}
	m.s.web.HTTP.Transport = w
	return m, w
}
