package keyed

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

func (p *pool[X]) give(x ...*X) { p.free = append(p.free, x...) }

// trim forgets those that nobody needed since the last trim; what was allocated together is freed together, when all of
// it is forgotten or in use no more. It keeps a few, and tells whether there is more to trim later.
func (p *pool[X]) trim() (later bool) {
	surplus := min(p.low, len(p.free)) - trimKeep
	if surplus > 0 {
		keep := make([]*X, len(p.free)-surplus, len(p.free)-surplus/2)
		copy(keep, p.free[surplus:])
		p.free = keep
	}
	p.low = len(p.free)
	return len(p.free) > trimKeep
}

// trimKeep is how many unused ones a pool always keeps: too few to matter, enough for a burst.
const trimKeep = 1024
