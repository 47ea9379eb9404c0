package ratelimit

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keystrand/keystrand"
)

// How far ahead messages get their times.
const (
	// ahead is how long before they are issued tokens are reserved for messages. It bounds the reservations that are kept, those
	// wasted when a partition leaves, and those that a change of the limit does not reach.
	ahead = time.Second
	// longest bounds the delay of a message without a reservation, so that it soon notices a higher limit.
	longest = 10 * time.Second
	// forgotten is how long a reservation is kept for a message that does not come.
	forgotten = time.Minute
)

// queue hands out the tokens of a limiter.
//
// A message that must wait keeps the tokens reserved for it, and is postponed until they are issued. Without a reservation all
// lanes that wait would come again for each token, and all but one in vain. The limiter does not know for whom a reservation is,
// so the queue does.
//
// A queue is safe for concurrent use.
type queue struct {
	limiter *rate.Limiter
	reason  string

	reserved atomic.Int64 // len(slots), so that a turn with nobody waiting needs no lock of the queue

	mu    sync.Mutex // held while the limiter's own lock is taken
	slots map[place]slot
	far   time.Time // when the next message without a reservation should come again
	swept time.Time
}

// place identifies a message. A batch is identified by its first one.
type place struct {
	stream    string
	partition int32
	offset    int64
}

// slot is a reservation.
type slot struct {
	at     time.Time // when its tokens are issued
	tokens int
}

func newQueue(l *rate.Limiter, reason string) *queue {
	return &queue{limiter: l, reason: reason, slots: make(map[place]slot)}
}

// admit takes tokens for the messages of a turn, or returns the error that postpones it.
func (q *queue) admit(now time.Time, ms []*keystrand.Message) error {
	if q.reserved.Load() == 0 && q.limiter.AllowN(now, len(ms)) || len(ms) == 0 {
		return nil
	}
	first := ms[0]
	if wait := q.take(now, place{first.Stream, first.Partition, first.Offset}, len(ms)); wait > 0 {
		return keystrand.Later(wait, q.reason)
	}
	return nil
}

// take takes n tokens for a message and returns 0, or how long the message has to wait before it asks again.
func (q *queue) take(now time.Time, who place, n int) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sweepLocked(now)
	s, ok := q.slots[who]
	if ok && s.at.After(now) { // its lane was resumed early
		return s.at.Sub(now)
	}
	missing := n - s.tokens // a batch may have grown since
	if missing <= 0 || q.limiter.AllowN(now, missing) {
		q.dropLocked(who)
		return 0
	}
	wait, reserved := q.reserveLocked(now, missing)
	switch held := s.tokens + reserved; {
	case wait == 0:
		q.dropLocked(who)
	case held > 0:
		q.slots[who] = slot{now.Add(wait), held}
		q.reserved.Store(int64(len(q.slots)))
	}
	return wait
}

// reserveLocked reserves n tokens if those that were reserved before are issued soon. It returns the delay of the message, 0 if
// it need not wait, and how many tokens are reserved: n or none.
func (q *queue) reserveLocked(now time.Time, n int) (wait time.Duration, reserved int) {
	limit, burst := q.limiter.Limit(), q.limiter.Burst()
	switch {
	case limit == rate.Inf: // the limiter was changed meanwhile
		return 0, 0
	case limit <= 0 || burst <= 0:
		return upTo(longest), 0 // no token is ever issued, unless the limiter is changed
	}
	if before := duration(-q.limiter.TokensAt(now), limit); before > ahead {
		// Half of ahead is left for messages that come meanwhile, so that this one is seldom refused again.
		return q.laterLocked(now.Add(before-ahead/2), now, duration(float64(n), limit)), 0
	}
	for left := n; left > 0; left -= burst { // more than the burst at once would be refused for ever
		r := q.limiter.ReserveN(now, min(left, burst))
		if !r.OK() || r.DelayFrom(now) == rate.InfDuration {
			return upTo(longest), 0 // the limiter was changed meanwhile
		}
		wait = r.DelayFrom(now)
	}
	return wait, n
}

// laterLocked returns the delay of a message without a reservation: until the first of these messages that is expected to get
// one, and then one after the other, at the rate at which the limiter issues tokens. It forgets the order of those that would
// wait longer than longest, and spreads them.
func (q *queue) laterLocked(at, now time.Time, cost time.Duration) time.Duration {
	if q.far.After(at) {
		at = q.far
	}
	wait := at.Sub(now)
	if wait > longest {
		return upTo(longest)
	}
	q.far = at.Add(min(cost, longest))
	return wait
}

func (q *queue) dropLocked(who place) {
	delete(q.slots, who)
	q.reserved.Store(int64(len(q.slots)))
}

// sweepLocked drops the reservations of messages that did not come, because their partition has left. There are no more slots
// than tokens are issued in the time that it is kept.
func (q *queue) sweepLocked(now time.Time) {
	if now.Sub(q.swept) < forgotten {
		return
	}
	q.swept = now
	for who, s := range q.slots {
		if now.Sub(s.at) > forgotten {
			q.dropLocked(who)
		}
	}
}

// idle reports whether the queue behaves as a new one, so that it can be dropped.
func (q *queue) idle(unused time.Duration) bool {
	return unused >= forgotten && (q.limiter.Limit() == rate.Inf || q.limiter.Tokens() >= float64(q.limiter.Burst()))
}

// duration returns how long a limiter takes to issue tokens.
func duration(tokens float64, limit rate.Limit) time.Duration {
	if s := tokens / float64(limit); s < (24 * time.Hour).Seconds() {
		return time.Duration(s * float64(time.Second))
	}
	return 24 * time.Hour
}

// upTo returns a random delay between half of d and d.
func upTo(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }
