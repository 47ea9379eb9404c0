package keystrand

// HandlerNext, BatchNext and TransformNext make the end of a chain from a handler. They are exported for tests.
var (
	HandlerNext   = handlerNext
	BatchNext     = batchNext
	TransformNext = transformNext
)

// Reset prepares the Call for another turn.
func (c *Call) Reset(ms ...*Message) { c.reset(ms) }
