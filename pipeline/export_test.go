package pipeline

// Tokens returns the number of lanes that wait for Complete.
func (p *Pipeline) Tokens() int { return p.exec.Stats().Waits }
