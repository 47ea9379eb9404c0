package ack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/cenkalti/backoff/v4"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/internal/health"
)

// Acker sends the acknowledgements of one ownership, one request at a time, from the goroutine in Run. Neither Fetch nor
// handlers wait for a request. Run retries an unconfirmed request, together with what has settled since. An acknowledgement
// that arrives twice does no harm.
//
// An Acker is safe for concurrent use.
type Acker struct {
	pending pending
	send    func([]pulsar.MessageID) error // may hang until the consumer is closed
	health  *health.Health
	what    string // for health
	limit   int    // entries in a request

	opened time.Time // when the first request was answered; of Run

	wake chan struct{}
	stop chan struct{} // closed by Close
	dead chan struct{} // closed by Abandon
	done chan struct{} // closed when Run has returned

	mu      sync.Mutex
	want    *want // the last commit, at first the progress restored
	lastErr error
}

// want is the request of one commit.
type want struct {
	progress *commit.Progress
	stored   commit.Stored // valid when done
	done     chan struct{}
}

func newWant(p *commit.Progress) *want { return &want{progress: p, done: make(chan struct{})} }

const (
	maxRequest    = 10_000
	firstAckRetry = 100 * time.Millisecond
	// growsUp is how long an ownership counts as young. A broker creates the ledger of a cursor within milliseconds.
	growsUp = 2 * time.Second
	// never is longer than any process runs.
	never = 100 * 365 * 24 * time.Hour
)

var (
	// ErrReleased is the error of Commit after Close, unless the partition is lost.
	ErrReleased = errors.New("the partition is released")
	// ErrLost is the error of Commit after Abandon, also after Close and when ctx has ended.
	ErrLost = errors.New("the partition is lost")
)

// New returns an Acker for an ownership that starts at this frontier. send sends one request and returns when the broker has
// confirmed it. Errors are recorded in h as the operation what.
func New(frontier int64, send func([]pulsar.MessageID) error, h *health.Health, what string) *Acker {
	return &Acker{
		send: send, health: h, what: what, limit: maxRequest, want: newWant(&commit.Progress{Frontier: frontier}),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), dead: make(chan struct{}), done: make(chan struct{}),
	}
}

// Take records the delivery of a message with this offset, and says what to do with it. Positions and offsets ascend within
// an ownership, since none outlives its connection.
func (a *Acker) Take(id pulsar.MessageID, offset int64) Verdict { return a.pending.take(id, offset) }

// Received reports whether any message was delivered.
func (a *Acker) Received() bool { return a.pending.received() }

// Last returns the position of the last message that was delivered, if there was one.
func (a *Acker) Last() (Position, bool) { return a.pending.last() }

// Commit waits until everything that p settles, and that may be acknowledged, is confirmed. Call it from one goroutine at a
// time. Later progress supersedes a call whose ctx has ended.
func (a *Acker) Commit(ctx context.Context, p *commit.Progress) (commit.Stored, error) {
	w := a.demand(p)
	// For a lost partition several cases can be ready, and select picks one at random. So the others look for the loss.
	select {
	case <-w.done:
		return w.stored, nil
	case <-a.dead:
		return commit.Stored{}, ErrLost
	case <-a.done:
		return commit.Stored{}, a.ended()
	case <-ctx.Done():
		if a.lost() {
			return commit.Stored{}, ErrLost
		}
		a.mu.Lock()
		last := a.lastErr
		a.mu.Unlock()
		return commit.Stored{}, fmt.Errorf("no answer yet; the outcome is unknown; retrying: %w", errors.Join(context.Cause(ctx), last))
	}
}

// Settle is Commit without waiting.
func (a *Acker) Settle(p *commit.Progress) { a.demand(p) }

func (a *Acker) demand(p *commit.Progress) *want {
	w := newWant(p)
	a.mu.Lock()
	a.want = w
	a.mu.Unlock()
	a.Wake()
	return w
}

// Wake makes Run look again for messages to acknowledge. It does not block.
func (a *Acker) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run sends until Close or Abandon. ctx only carries the values for log lines.
func (a *Acker) Run(ctx context.Context) {
	defer close(a.done)
	defer a.health.Forget(a.what)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstAckRetry), backoff.WithMaxInterval(30*firstAckRetry), backoff.WithMaxElapsedTime(0),
	)
	retry := time.AfterFunc(never, a.Wake)
	defer retry.Stop()
	a.Wake()
	for {
		select {
		case <-a.stop:
			return
		case <-a.dead:
			return
		case <-a.wake:
		}
		wait, err := a.flush()
		if err != nil {
			if a.ended() != nil {
				return
			}
			a.mu.Lock()
			a.lastErr = err
			a.mu.Unlock()
			a.health.Fails(ctx, a.what, err)
			retry.Reset(pause.NextBackOff())
			continue
		}
		pause.Reset()
		a.health.Works(ctx, a.what)
		if wait > 0 {
			retry.Reset(wait)
		}
	}
}

// flush sends what is settled and not confirmed, in ascending order. It stops at the first error. It returns how long the
// entries that it holds back must wait.
func (a *Acker) flush() (time.Duration, error) {
	a.mu.Lock()
	w := a.want
	a.mu.Unlock()
	for more := true; more; {
		if err := a.ended(); err != nil {
			return 0, err
		}
		young := a.opened.IsZero() || time.Since(a.opened) < growsUp
		q := a.pending.plan(w.progress, a.limit, young)
		if len(q.ids) > 0 {
			err := a.send(q.ids)
			if a.opened.IsZero() {
				a.opened = time.Now()
			}
			if err != nil {
				return 0, brief(err)
			}
			a.pending.confirm(q)
		}
		if more = q.more; !more && q.held {
			return max(growsUp-time.Since(a.opened), time.Millisecond), nil
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastErr = nil
	select {
	case <-w.done:
	default:
		w.stored = a.pending.stored(w.progress)
		close(w.done)
	}
	return 0, nil
}

// ended returns an error once nothing more may be sent.
func (a *Acker) ended() error {
	if a.lost() {
		return ErrLost // also after Close: the source closes a lost partition too
	}
	select {
	case <-a.stop:
		return ErrReleased
	default:
		return nil
	}
}

// lost reports whether Abandon was called.
func (a *Acker) lost() bool {
	select {
	case <-a.dead:
		return true
	default:
		return false
	}
}

// Close ends Run: at once, or when the request under way is answered. Call it once. It does not block.
func (a *Acker) Close() { close(a.stop) }

// Abandon ends Run for a lost partition, and every Commit at once. Call it once. It does not block.
func (a *Acker) Abandon() { close(a.dead) }

// Done returns a channel that is closed when Run has returned.
func (a *Acker) Done() <-chan struct{} { return a.done }

// brief shortens an error of the library, which lists every id of the request. It leaves out their number: that differs at
// each attempt, and each would be logged as news.
func brief(err error) error {
	failed, ok := errors.AsType[pulsar.AckError](err)
	if !ok {
		return err
	}
	for _, cause := range failed {
		return cause
	}
	return errors.New("an acknowledgement was not sent")
}
