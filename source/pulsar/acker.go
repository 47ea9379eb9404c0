package pulsar

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source/internal/health"
)

// acker sends the acknowledgements of one ownership, one request at a time, from a goroutine of its own: a request hangs
// as long as the broker does not answer, and nobody who fetches or handles messages waits for it. What was not confirmed is
// sent again, together with what was settled meanwhile, until it is. An acknowledgement that arrives twice does no harm.
//
// When the partition is lost nothing more is sent, and nobody waits for the request under way. A broker confirms what it
// gets while it closes a topic and forgets it; a later one that is kept would let earlier messages of a key come again
// without it.
type acker struct {
	handed *handed
	send   func([]pulsar.MessageID) error // may hang until the consumer is closed
	health *health.Health
	what   string // for health
	limit  int    // entries in a request

	opened time.Time // when the first request was answered; of run

	wake chan struct{}
	stop chan struct{} // closed by close
	dead chan struct{} // closed by abandon
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	want    *want // the last commit
	lastErr error
}

// want is what a commit asks for.
type want struct {
	progress *commit.Progress
	stored   commit.Stored // valid when done
	done     chan struct{}
}

const (
	maxRequest    = 10_000
	firstAckRetry = 100 * time.Millisecond
	// growsUp is how long a broker gets to make the ledger of a cursor, which takes it some milliseconds.
	growsUp = 2 * time.Second
)

var (
	errStopped = errors.New("the partition is released")
	errLost    = errors.New("the partition is lost")
)

func newAcker(h *handed, send func([]pulsar.MessageID) error, trouble *health.Health, what string) *acker {
	return &acker{
		handed: h, send: send, health: trouble, what: what, limit: maxRequest,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), dead: make(chan struct{}), done: make(chan struct{}),
	}
}

// commit waits until what p settles and may be acknowledged is. It is called by one goroutine at a time; a call whose ctx
// has ended is superseded by the next.
func (a *acker) commit(ctx context.Context, p *commit.Progress) (commit.Stored, error) {
	w := &want{progress: p, done: make(chan struct{})}
	a.mu.Lock()
	a.want = w
	a.mu.Unlock()
	poke(a.wake)
	select {
	case <-w.done:
		return w.stored, nil
	case <-a.dead:
		return commit.Stored{}, errLost
	case <-a.done:
		return commit.Stored{}, errStopped
	case <-ctx.Done():
		a.mu.Lock()
		last := a.lastErr
		a.mu.Unlock()
		return commit.Stored{}, fmt.Errorf("no answer yet: the outcome is unknown, and it goes on being tried: %w",
			errors.Join(context.Cause(ctx), last))
	}
}

// settle is commit without waiting.
func (a *acker) settle(p *commit.Progress) {
	a.mu.Lock()
	a.want = &want{progress: p, done: make(chan struct{})}
	a.mu.Unlock()
	poke(a.wake)
}

// run sends until close or abandon. ctx is for the log alone.
func (a *acker) run(ctx context.Context) {
	defer close(a.done)
	defer a.health.Forget(a.what)
	bo := newBackoff(firstAckRetry, 30*firstAckRetry)
	retry := time.AfterFunc(never, func() { poke(a.wake) })
	defer retry.Stop()
	poke(a.wake)
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
			retry.Reset(bo.NextBackOff())
			continue
		}
		bo.Reset()
		a.health.Works(ctx, a.what)
		if wait > 0 {
			retry.Reset(wait)
		}
	}
}

// flush sends what is settled and not confirmed, in ascending order, and ends at the first error. It returns how long what it
// has held back is to wait.
func (a *acker) flush() (time.Duration, error) {
	a.mu.Lock()
	w := a.want
	a.mu.Unlock()
	if w == nil {
		w = &want{progress: a.handed.progress(), done: make(chan struct{})}
	}
	for {
		if err := a.ended(); err != nil {
			return 0, err
		}
		young := a.opened.IsZero() || time.Since(a.opened) < growsUp
		q := a.handed.plan(w.progress, a.limit, young)
		if len(q.ids) > 0 {
			err := a.send(q.ids)
			if a.opened.IsZero() {
				a.opened = time.Now()
			}
			if err != nil {
				return 0, brief(err)
			}
			a.handed.confirm(q)
		}
		if !q.more {
			if q.held {
				return max(growsUp-time.Since(a.opened), time.Millisecond), nil
			}
			break
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastErr = nil
	select {
	case <-w.done:
	default:
		w.stored = a.handed.stored(w.progress)
		close(w.done)
	}
	return 0, nil
}

// ended returns why nothing more is to be sent, if so.
func (a *acker) ended() error {
	select {
	case <-a.dead:
		return errLost
	case <-a.stop:
		return errStopped
	default:
		return nil
	}
}

// close ends the goroutine: at once, or when the request under way has its answer. It is called once.
func (a *acker) close() { close(a.stop) }

// abandon is close for a partition that is lost: nobody waits for an answer any more. It is called once and does not block.
func (a *acker) abandon() { close(a.dead) }

// brief makes an error of the library readable, which else lists every id that it was given. How many they were is left out: it
// is another number at each try, and each would be told as news.
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

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
