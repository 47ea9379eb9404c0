// Package runner gives package pipeline access to the parts of a keystrand.Call and a keystrand.Message that users
// must not touch. It keeps them out of the API of package keystrand.
//
// Package keystrand sets each variable in its init. Package pipeline asserts the type of each once, at its initialization,
// so a turn costs only the call of a function value. The variables have type any because package keystrand imports this
// package, which therefore cannot import its types.
package runner

//nolint:gochecknoglobals // set once, in the init of package keystrand
var (
	// Reset is a func(c *keystrand.Call, ms []*keystrand.Message). It prepares c for a turn with copies of ms and drops
	// everything of the previous turn. Do not write to ms until the turn ends. Reset allocates nothing once c has had a
	// turn with as many messages.
	Reset any
	// Release is a func(c *keystrand.Call). It drops the messages of c's turn and those it emitted, so that a worker that
	// waits for its next turn keeps no payload in memory.
	Release any

	// HandlerNext is a func(h keystrand.Handler) keystrand.Next. It returns the end of a chain, which calls h and turns
	// a panic of h into a *keystrand.PanicError.
	HandlerNext any
	// BatchNext is a func(h keystrand.BatchHandler) keystrand.Next. It is HandlerNext for a batch handler.
	BatchNext any
	// TransformNext is a func(t keystrand.Transformer) keystrand.Next. It is HandlerNext for a transformer, and stores
	// the emitted messages in the Call. It first drops those of an earlier attempt of the same turn.
	TransformNext any

	// Check is a func(handler any) error. It lists the nil functions of a handler of any shape, one a line. It finds only
	// those in types of package keystrand.
	Check any

	// CloneValue is a func(m *keystrand.Message). It gives m its own copy of the bytes of its Value. A value that a
	// keystrand.Decoder has decoded stays with m.
	CloneValue any
)
