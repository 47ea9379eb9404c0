// Package sourcetest tests whether a source keeps the contract of package source. The promises of a pipeline (order per key,
// nothing lost, exact restart) hold on every source that passes.
//
//	func TestSourceContract(t *testing.T) {
//		sourcetest.Run(t, func(t *testing.T) sourcetest.Env { return env(t, newBroker(t)) })
//	}
//
// Each case gets an [Env] of its own: an empty log, and a group without members. Leave nil the fields for abilities that a log
// does not have, such as to move its position without messages, to be recreated, or to crash a member. Cases that need them
// skip and name the field. [Cases] lists the cases, each with its reason. Each can run alone, also inside a testing/synctest
// bubble.
//
// Set Env.ID for a source whose partitions are streams of their own, and Env.Plain for one whose messages have another form
// than key, value and headers, such as the rows of tables. Both together skip no case.
//
// The suite never asserts how long something takes. It waits up to Env.Wait for an event that must happen, and watches for
// Env.Patience whether something happens that must not.
//
// The suite calls the source as a pipeline does, within the contract. It tests neither callers that break the contract nor
// faults of a broker, such as network faults, moved leaders and corrupt data. Test those in the source's own package.
package sourcetest
