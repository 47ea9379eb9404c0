package pipeline

// Tokens returns how many lanes wait for something outside their turn.
func (p *Pipeline) Tokens() int { return p.exec.Stats().Waits }
