package pulsar

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Not parallel: all tests share the broker.
//
// Soak: the broker is frozen.
func TestSoakFrozenBrokerDelaysNoCall(t *testing.T) {
	l := liveBroker(t)
	ctl := liveEnv(t, "KEYSTRAND_PULSAR_CTL", "pulsar")
	signal := func(what string) {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), ctl, what, "pulsar", "1").CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", what, err, out)
		}
	}
	t.Cleanup(func() { signal("resume") })
	topic := l.topic(t, 0)
	if err := send(t.Context(), l.producer(t, topic, nil), numbered(0, 20)...); err != nil {
		t.Fatal(err)
	}
	cfg := l.config(t)
	cfg.OperationTimeout, cfg.ReleaseTimeout = 2*time.Second, 2*time.Second
	r := l.reader(t, cfg, "s", topic)
	p := r.accept()
	msgs := read(t, p, 20)
	settle(t, p, msgs[5].Offset)

	signal("pause")
	within := func(bound time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeout(t.Context(), bound) // real time: waits for a silent broker
	}
	ctx, cancel := within(5 * time.Second)
	_, err := p.Commit(ctx, &commit.Progress{Epoch: p.ID().Epoch, Frontier: msgs[10].Offset})
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), topic) || !strings.Contains(err.Error(), `"s"`) {
		t.Errorf("commit = %v, want no answer", err)
	}
	told := false
	for _, tr := range r.s.Report().Trouble {
		told = told || strings.Contains(tr.What, "acknowledge "+topic)
	}
	if !told {
		t.Errorf("trouble = %v, want that of acknowledge", r.s.Report().Trouble)
	}
	ctx, cancel = within(time.Second)
	b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
	// After two OperationTimeouts the library leaves the silent broker, and the partition is lost.
	if err := p.Fetch(ctx, &b); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, source.ErrLeaving) || len(b.Messages) > 0 {
		t.Errorf("fetch = %v, %d messages", err, len(b.Messages))
	}
	cancel()
	ctx, cancel = within(4 * time.Second)
	// The library waits for OperationTimeout to close. The requests wait in the connection.
	if err := p.Release(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	cancel()
	signal("resume")

	// The request may have reached the broker or not.
	q := r.accept()
	more := read(t, q, 1)
	first, err := strconv.Atoi(string(more[0].Value))
	if err != nil || first < 5 || first > 10 {
		t.Fatalf("then first message = %s, want 5 to 10", more[0].Value)
	}
	more = append(more, read(t, q, 19-first)...)
	if want := values(msgs[first:]); values(more) != want {
		t.Errorf("then read %q, want %q", values(more), want)
	}
	release(t, q)
}
