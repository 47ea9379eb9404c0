package pipeline

// trend tells whether a figure grows from one period to the next. One that goes up and down does not grow.
type trend struct {
	least, most int64 // of the samples of this period
	samples     int
	before      int64 // most of the period before
	known       bool  // there is a period before
}

func (t *trend) add(v int64) {
	if t.samples == 0 {
		t.least, t.most = v, v
	}
	t.least, t.most = min(t.least, v), max(t.most, v)
	t.samples++
}

// end ends the period. It reports whether all samples of the period were above all of the period before.
func (t *trend) end() (grows bool) {
	if t.samples == 0 {
		*t = trend{}
		return false
	}
	grows = t.known && t.least > t.before
	*t = trend{before: t.most, known: true}
	return grows
}
