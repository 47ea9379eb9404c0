package fetch

import (
	"time"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
)

// pace adapts the size of requests to the speed of the caller: a response should last some tens of milliseconds. Larger
// responses only occupy memory, smaller ones cost more requests. It begins small, since most services are slow, and grows
// quickly.
type pace struct {
	bytes int // of the next request
	most  int
}

const (
	firstRequest = 64 << 10
	shortWait    = 10 * time.Millisecond  // a response that waits less for Read was too small
	longWait     = 100 * time.Millisecond // a response that waits longer was too large
)

func newPace(most int) pace { return pace{bytes: min(firstRequest, most), most: most} }

// waited adapts the size to how long a response of n bytes waited for Read.
func (p *pace) waited(d time.Duration, n int) {
	switch {
	case d < shortWait && n >= p.bytes/2: // the broker had more records
		p.bytes = min(4*p.bytes, p.most)
	case d >= longWait:
		p.bytes = min(max(p.bytes/2, buffer.LeastShare), p.most)
	}
}
