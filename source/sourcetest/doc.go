// Package sourcetest tests whether a source keeps the contract of package source. The promises of a pipeline (order per key,
// nothing lost, exact restart) hold on every source that passes.
//
//	func TestSourceContract(t *testing.T) {
//		sourcetest.Run(t, func(t *testing.T) sourcetest.Env { return env(t, newBroker(t)) })
//	}
//
// Each case gets an [Env] of its own: an empty log, and a group without members. The fields for abilities that a log does
// not have (move its position without messages, be made again, crash a member) stay nil. Cases that need them are skipped
// and name the field. [Cases] lists the cases, each with its reason. Each can run alone, also inside a testing/synctest
// bubble.
//
// The suite never asserts how long something takes. It waits up to Env.Wait for an event that must happen, and watches for
// Env.Patience whether something happens that must not.
//
// The suite calls the source as a pipeline does, within the contract. It does not test how a source answers a caller that
// breaks the contract, nor what a broker can do to a source: network faults, moved leaders, corrupt data. Test those beside
// the source.
package sourcetest
