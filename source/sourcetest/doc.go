// Package sourcetest is the contract of package source as a suite: a source that passes it gives a pipeline what the
// pipeline's own promises are made of, so order, nothing lost and exact restart hold on it as on every other source.
//
//	func TestSourceContract(t *testing.T) {
//		sourcetest.Run(t, func(t *testing.T) sourcetest.Env { return env(t, newBroker(t)) })
//	}
//
// Each case gets an [Env] of its own: a fresh log with a group that nobody has joined yet. What a log cannot do (move
// its position without messages, be made again, crash a member) its Env leaves nil, and the cases that need it are
// skipped with that reason. [Cases] lists the cases with what they are good for; each can run alone, also inside a
// testing/synctest bubble.
//
// Time is never asserted: what must happen is waited for, up to a generous limit that only ends hangs, and what must
// not happen gets a moment to show itself.
//
// The suite does not try what a broker can do to a source: faults of the network, leaders that move, corrupt data.
// That is for the source's own tests.
package sourcetest
