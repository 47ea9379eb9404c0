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

// Loaded returns how many records are loaded, and how many the pool of windows has and how many of it are free.
func (p *Pipeline) Loaded() (records, all, free int) {
	for _, pt := range p.partitions() {
		pt.divert.mu.Lock()
		for _, st := range pt.divert.strands {
			if w := st.drain; w != nil {
				records += len(w.items) - w.at + len(w.flights) - w.running // those of a running turn are in both
			}
		}
		pt.divert.mu.Unlock()
	}
	x := &p.diverts
	x.mu.Lock()
	defer x.mu.Unlock()
	return records, x.all.Messages, x.room.Messages
}
