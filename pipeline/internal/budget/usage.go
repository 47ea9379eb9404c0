package budget

// Usage is an amount of messages and the bytes they occupy.
type Usage struct{ Messages, Bytes int }

// Plus returns u + v in each measure.
func (u Usage) Plus(v Usage) Usage { return Usage{u.Messages + v.Messages, u.Bytes + v.Bytes} }

func (u Usage) minus(v Usage) Usage { return Usage{u.Messages - v.Messages, u.Bytes - v.Bytes} }
func (u Usage) half() Usage         { return Usage{u.Messages / 2, u.Bytes / 2} }

// over returns the part of u that exceeds v, in each measure.
func (u Usage) over(v Usage) Usage {
	return Usage{max(0, u.Messages-v.Messages), max(0, u.Bytes-v.Bytes)}
}

// within reports whether u is smaller than v in both measures.
func (u Usage) within(v Usage) bool { return u.Messages < v.Messages && u.Bytes < v.Bytes }
