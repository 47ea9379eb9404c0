package keyed

import "slices"

// pool keeps what was used, to be used again. A stack of pointers instead of a linked list: taking and giving touch no
// cache line of what is in it, so both may be done for many at once with the lock held. Guarded by Executor.mu.
type pool[X any] struct {
	free []*X
	low  int // fewest in it since the last trim: nobody needed these
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

// trim forgets those that nobody needed since the last trim, and tells whether there is more to trim later. What was
// allocated together is freed together, when all of it is forgotten or was: so where most go, all go, since the few
// left would keep the others' memory.
func (p *pool[X]) trim() (later bool) {
	surplus := min(p.low, len(p.free))
	if surplus > len(p.free)/2 {
		surplus = len(p.free)
	}
	if surplus > trimKeep {
		p.free = slices.Clone(p.free[surplus:])
	}
	p.low = len(p.free)
	return len(p.free) > trimKeep
}

// trimKeep is how many unused ones are too few to care.
const trimKeep = 1024
