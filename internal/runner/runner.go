// Package runner gives package pipeline access to the parts of a keystrand.Call and a keystrand.Message that users
// must not touch. It keeps them out of the API of package keystrand.
//
// Package keystrand sets each variable in its init, and package pipeline asserts each once, when it is initialized: a
// turn pays for a call of a function value and nothing else. The variables have type any because this package cannot
// import the types of package keystrand, which imports it.
package runner

//nolint:gochecknoglobals // set once, in the init of package keystrand
var (
	// Reset is a func(c *keystrand.Call, ms []*keystrand.Message). It prepares c for a turn with copies of ms and drops
	// everything of the turn before. Until the turn ends nobody may write to ms. It allocates nothing once c has had a
	// turn with as many messages.
	Reset any
	// Release is a func(c *keystrand.Call). It drops the messages of c's turn, so that a worker that waits for its next
	// turn keeps no payload in memory. It keeps what was emitted.
	Release any

	// HandlerNext is a func(h keystrand.Handler) keystrand.Next. It returns the end of a chain, which calls h and turns
	// a panic of h into a *keystrand.PanicError.
	HandlerNext any
	// BatchNext is a func(h keystrand.BatchHandler) keystrand.Next. It is HandlerNext for a batch handler.
	BatchNext any
	// TransformNext is a func(t keystrand.Transformer) keystrand.Next. It is HandlerNext for a transformer, and keeps
	// what t emits in the Call. It drops first what an earlier try of the same turn emitted.
	TransformNext any

	// Check is a func(handler any) error. It lists the nil functions of a handler of any shape, one a line: in the types
	// of package keystrand alone.
	Check any

	// CloneValue is a func(m *keystrand.Message). It gives m its own copy of the bytes of its Value. What a
	// keystrand.Decoder has made of them stays with m.
	CloneValue any
)
