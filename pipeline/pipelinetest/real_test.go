package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/pipeline/pipelinetest"
)

// failing is the t of a test that is expected to fail.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns what a RunReal says that fails its test.
func failure(ctx context.Context, t *testing.T, stage func(*pipeline.Builder), msgs ...keystrand.Message) string {
	t.Helper()
	f := &failing{TB: t}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		r := pipelinetest.RunReal(ctx, f, stage, msgs...)
		t.Errorf("RunReal returned %+v, want a failure", r)
	}()
	<-ended
	return f.text
}

// post is a handler that posts each message to a server.
func post(url string) func(context.Context, *keystrand.Message) error {
	return func(ctx context.Context, m *keystrand.Message) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/"+string(m.Key), strings.NewReader(string(m.Value)))
		if err != nil {
			return keystrand.Permanent(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("post %s: %s", m.Key, resp.Status)
		}
		return nil
	}
}

func TestRunRealRunsAHandlerWithAnHTTPClient(t *testing.T) {
	busy := true // until the first request was refused; of one key, so of one goroutine at a time
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a" && busy {
			busy = false
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	r := pipelinetest.RunReal(t.Context(), t, func(b *pipeline.Builder) {
		b.Use(middleware.Retry(middleware.RetryPolicy{Initial: time.Millisecond})).HandleFunc(post(srv.URL))
	}, msg("a"), msg("b"), msg("a"))
	if r.Err != nil || r.Committed != 3 || len(r.Calls) != 4 || r.Snapshot.Retried != 1 {
		t.Errorf("err %v, committed %d, calls %+v", r.Err, r.Committed, r.Calls)
	}
}

func TestRunRealNamesTheMessageWhoseRequestHangs(t *testing.T) {
	arrived := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			_, _ = io.Copy(io.Discard, r.Body) // after its body the server notices that the client is gone
			close(arrived)
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-arrived; cancel(errors.New("enough")) }()
	asked := false
	text := failure(ctx, t, func(b *pipeline.Builder) {
		b.OnFailure(func(pipeline.Failure) pipeline.Action { asked = true; return pipeline.Action{} }).HandleFunc(post(srv.URL))
	}, msg("slow"))
	if !strings.Contains(text, `key "slow", offset 0, attempt 1: the handler has run for`) || !strings.Contains(text, "(enough)") {
		t.Errorf("the failure does not name the message: %s", text)
	}
	if asked {
		t.Error("the failure policy was asked about a handler that was told to end")
	}
}

// The clock is virtual in the tests below: nothing in them does real I/O.

func TestRunRealEndsWhenAHandlerIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		text := failure(ctx, t, func(b *pipeline.Builder) {
			b.HandleFunc(func(context.Context, *keystrand.Message) error { <-release; return nil })
		}, msg("deaf"))
		if d := time.Since(began); d != 6*time.Second || !strings.Contains(text, `key "deaf", offset 0, attempt 1: the handler has run for 1s`) || !strings.Contains(text, "runs on") {
			t.Errorf("after %v: %s", d, text)
		}
		close(release)
	})
}

func TestRunRealNamesTheMessageThatWaits(t *testing.T) {
	for name, c := range map[string]struct {
		policy pipeline.Policy
		err    error
		want   string
	}{
		"blocked": {pipeline.Block, errBusy, `key "a", offset 0, attempt 1: waits for Resume`},
		"parked":  {pipeline.Stop, keystrand.RetryAfter(time.Hour, errBusy), `key "a", offset 0, attempt 1: waits for its next attempt`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				text := failure(t.Context(), t, func(b *pipeline.Builder) {
					b.OnFailure(c.policy).HandleFunc(func(context.Context, *keystrand.Message) error { return c.err })
				}, msg("a"))
				if d := time.Since(began); d != time.Minute || !strings.Contains(text, c.want) {
					t.Errorf("after %v, want the default of one minute: %s", d, text)
				}
			})
		})
	}
}
