package fetch

import (
	"sync"
	"sync/atomic"
)

// Buffers lends readers the memory for responses and for decompressed batches. It bounds the responses, and counts the
// bytes that are lent. A buffer that is given back is used by any reader or freed by the garbage collector, so an idle
// reader holds none. No message points into a buffer.
//
// The zero value has no limit. Buffers is safe for concurrent use.
type Buffers struct {
	limit   atomic.Int64 // 0: none
	readers atomic.Int64 // from NewReader to Close
	lent    atomic.Int64
	ahead   atomic.Int64 // expected bytes of requests that no Read waits for

	frames        sync.Pool // of *[]byte
	decompressors sync.Pool // of *decompressor
}

// leastRequest is the smallest request under a limit. A broker sends at least one whole batch, and 16 KiB is the default
// batch of the Java producer.
const leastRequest = 16 << 10

// Limit bounds the bytes lent to all readers. It applies to later requests.
//
// A reader holds at most two responses and one decompressed batch, and asks for a third of its equal share. At the limit
// it fetches nothing ahead: it asks when Read waits, and then holds one response. The bytes lent exceed the limit where
// the batches that are being read do: a broker sends a batch whole, however large, and it may be larger when decompressed.
func (b *Buffers) Limit(bytes int) { b.limit.Store(int64(bytes)) }

// Lent returns the bytes that readers hold now.
func (b *Buffers) Lent() int64 { return b.lent.Load() }

// request returns how many bytes a reader may ask for, at most most.
func (b *Buffers) request(most int) int {
	limit := b.limit.Load()
	if limit == 0 {
		return most
	}
	share := min(limit/(3*max(1, b.readers.Load())), limit-b.lent.Load())
	return int(min(int64(most), max(leastRequest, share)))
}

// reserve makes room for a response of about n bytes that no Read waits for. It reports false at the limit. After true,
// call unreserve when the response has come.
func (b *Buffers) reserve(n int) bool {
	limit := b.limit.Load()
	if all := b.lent.Load() + b.ahead.Add(int64(n)); limit > 0 && all > limit {
		b.unreserve(n)
		return false
	}
	return true
}

func (b *Buffers) unreserve(n int) { b.ahead.Add(-int64(n)) }

// frame lends a buffer of n bytes.
func (b *Buffers) frame(n int) []byte {
	if n >= leastPooled {
		p, _ := b.frames.Get().(*[]byte)
		switch {
		case p == nil || cap(*p) < n:
		case cap(*p) > 4*n: // it would wait for Read nearly empty
			b.frames.Put(p)
		default:
			b.lent.Add(int64(cap(*p)))
			return (*p)[:n]
		}
	}
	frame := make([]byte, n, n+n/16) // so that the next response, a little larger, fits
	b.lent.Add(int64(cap(frame)))
	return frame
}

// leastPooled is the size below which a frame is cheaper to make: most of those are empty responses.
const leastPooled = 4096

// frameBack takes a frame back; nil is none.
func (b *Buffers) frameBack(frame []byte) {
	b.lent.Add(-int64(cap(frame)))
	if cap(frame) >= leastPooled {
		b.frames.Put(&frame)
	}
}

// decompress lends a decompressor that holds the decompressed body.
func (b *Buffers) decompress(codec int16, body []byte) (*decompressor, error) {
	z, _ := b.decompressors.Get().(*decompressor)
	if z == nil {
		z = &decompressor{}
	}
	err := z.decompress(codec, body)
	b.lent.Add(int64(cap(z.out)))
	if err != nil {
		b.decompressorBack(z)
		return nil, err
	}
	return z, nil
}

// decompressorBack takes a decompressor back; nil is none.
func (b *Buffers) decompressorBack(z *decompressor) {
	if z != nil {
		b.lent.Add(-int64(cap(z.out)))
		b.decompressors.Put(z)
	}
}
