package pipeline

import "sync"

// Tokens returns the number of lanes that wait for Complete.
func (p *Pipeline) Tokens() int { return p.exec.Stats().Waits }

// KeptErrors returns the number of messages whose errors the owned partitions keep.
func (p *Pipeline) KeptErrors() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pt := range p.owned {
		for _, kept := range []*sync.Map{&pt.errors, &pt.keyErrors} {
			kept.Range(func(any, any) bool { n++; return true })
		}
	}
	return n
}
