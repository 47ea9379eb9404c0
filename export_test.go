package keystrand

// The ends of a chain, for tests.
var (
	HandlerNext   = handlerNext
	BatchNext     = batchNext
	TransformNext = transformNext
)

// Reset prepares the Call for another turn.
func (c *Call) Reset(ms ...*Message) { c.reset(ms) }
