package drc

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The service answers everything but one stream, which hangs behind its first heartbeat.
func TestStreamThatHangsIsNoticedWithinTheTimeout(t *testing.T) {
	const beat = `{"type":"heartbeat","checkpoint":"shop@log1:0","state":"active","oldest":"shop@log1:0","end":"shop@log1:1"}` + "\n"
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		s.append(t, row("db.a", 1))
		n := networkTo(s)
		through := n.client()
		src := open(t, n, newMemStore(), Config{Timeout: 3 * time.Second})
		var heals atomic.Bool
		src.topics[0].log.cfg.Client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if from := r.URL.Query().Get("from"); from == "" || from == "none" || heals.Load() {
				return through.Transport.RoundTrip(r)
			}
			out, in := io.Pipe()
			go func() { _, _ = io.WriteString(in, beat) }()
			context.AfterFunc(r.Context(), func() { _ = in.CloseWithError(io.ErrUnexpectedEOF) })
			return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: out, Request: r}, nil
		})}
		c := consume(t, src, "shop/db.a")
		time.Sleep(3*time.Second + time.Millisecond)
		trouble := src.Report().Trouble
		if len(trouble) != 1 || trouble[0].What != "read" || !strings.Contains(trouble[0].Err.Error(), "nothing has come from the service for 3s") {
			t.Errorf("trouble = %v, want the silence after the timeout", trouble)
		}
		heals.Store(true)
		if got := ids(c.read("shop/db.a", 1)); !slices.Equal(got, []any{int64(1)}) {
			t.Errorf("read %v, want 1", got)
		}
		c.close()
		through.CloseIdleConnections()
	})
}
