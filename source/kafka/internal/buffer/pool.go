package buffer

import (
	"sync"
	"sync/atomic"
)

// Pool lends memory and counts it. A buffer that is returned is lent again or freed by the garbage collector.
//
// The zero value has no limit. A Pool is safe for concurrent use.
type Pool struct {
	limit   atomic.Int64 // 0: none
	sharers atomic.Int64
	lent    atomic.Int64
	ahead   atomic.Int64 // reserved by Reserve
	free    sync.Pool    // of *[]byte

	// Scratch holds the decompressors that no decoder uses. They are counted by Count. It is not a variable of the
	// process, since a zstd decoder has a channel, which must not leave the bubble of a synctest.
	Scratch sync.Pool
}

// LeastShare is the smallest share under a limit: a broker sends at least one whole batch, and 16 KiB is the default
// batch of the Java producer.
const LeastShare = 16 << 10

// Limit sets the limit in bytes. It applies to later shares and takes nothing back.
func (p *Pool) Limit(bytes int) { p.limit.Store(int64(bytes)) }

// Join adds a sharer, and Leave removes one.
func (p *Pool) Join()  { p.sharers.Add(1) }
func (p *Pool) Leave() { p.sharers.Add(-1) } //nolint:revive // the comment is that of Join

// Lent returns the bytes that are lent now.
func (p *Pool) Lent() int64 { return p.lent.Load() }

// Share returns the bytes that a sharer may ask a broker for, at most most. It is a third of an equal share of the
// limit, since a sharer holds two responses and a decompressed batch, and no more than is left of the limit.
func (p *Pool) Share(most int) int {
	limit := p.limit.Load()
	if limit == 0 {
		return most
	}
	share := min(limit/(3*max(1, p.sharers.Load())), limit-p.lent.Load())
	return int(min(int64(most), max(LeastShare, share)))
}

// Reserve counts about n bytes that are fetched before they are needed. It reports false at the limit. After true, call
// [Pool.Unreserve] when the bytes are lent or will not come.
func (p *Pool) Reserve(n int) bool {
	limit := p.limit.Load()
	if all := p.lent.Load() + p.ahead.Add(int64(n)); limit > 0 && all > limit {
		p.Unreserve(n)
		return false
	}
	return true
}

// Unreserve gives back n bytes of Reserve.
func (p *Pool) Unreserve(n int) { p.ahead.Add(-int64(n)) }

// Reserved returns the bytes that are reserved now.
func (p *Pool) Reserved() int64 { return p.ahead.Load() }

// Lend returns a buffer of n bytes, with any content.
func (p *Pool) Lend(n int) []byte {
	if n >= leastPooled {
		b, _ := p.free.Get().(*[]byte)
		switch {
		case b == nil || cap(*b) < n:
		case cap(*b) > 4*n: // most of it would stay unused while it is lent
			p.free.Put(b)
		default:
			p.Count(cap(*b))
			return (*b)[:n]
		}
	}
	b := make([]byte, n, n+n/16) // the next response, a little larger, fits as well
	p.Count(cap(b))
	return b
}

// leastPooled is the smallest size of a pooled buffer. Smaller ones, mostly of empty responses, are cheaper to allocate.
const leastPooled = 4096

// Return takes back a buffer from Lend. A nil b is ignored.
func (p *Pool) Return(b []byte) {
	p.Count(-cap(b))
	if cap(b) >= leastPooled {
		p.free.Put(&b)
	}
}

// Count counts n bytes of other memory as lent, or as returned if n is negative.
func (p *Pool) Count(n int) { p.lent.Add(int64(n)) }
