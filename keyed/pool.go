package keyed

import "slices"

// pool keeps unused objects for reuse. It is a stack of pointers: a linked list would touch a cache line of each
// object, while this can move many at once under the lock. Guarded by Executor.mu.
type pool[X any] struct {
	free []*X
	low  int // fewest objects in it since the last trim: these were not needed
}

func (p *pool[X]) take() *X {
	n := len(p.free) - 1
	if n < 0 {
		return nil
	}
	x := p.free[n]
	p.free[n] = nil
	p.free = p.free[:n]
	p.low = min(p.low, n)
	return x
}

// takeMany appends up to n to dst.
func (p *pool[X]) takeMany(dst []*X, n int) []*X {
	n = min(n, len(p.free))
	rest := len(p.free) - n
	dst = append(dst, p.free[rest:]...)
	clear(p.free[rest:])
	p.free = p.free[:rest]
	p.low = min(p.low, rest)
	return dst
}

func (p *pool[X]) put(x *X) { p.free = append(p.free, x) }

func (p *pool[X]) give(x ...*X) { p.free = append(p.free, x...) }

// trim drops the objects not needed since the last trim and reports whether there is more to trim later. If it would
// drop most, it drops all: objects were allocated in chunks, and one that stays keeps its whole chunk in memory. It keeps
// a few, unless none was used.
func (p *pool[X]) trim() (later bool) {
	surplus := min(p.low, len(p.free))
	if surplus == len(p.free) {
		p.free = nil
	}
	if surplus > len(p.free)/2 {
		surplus = len(p.free)
	}
	if surplus > trimKeep {
		p.free = slices.Clone(p.free[surplus:])
	}
	p.low = len(p.free)
	return len(p.free) > 0
}

// trimKeep is the number of unused objects that a pool in use keeps.
const trimKeep = 1024
