// Package livetest holds pipelines on real services to their promises, with members that are processes of their own:
// they leave and join, are killed and frozen, and their brokers restart. Every event of every process goes to one file,
// the history, and [Check] says what in it breaks a promise: a message lost, two of a key out of order or at the same
// time, progress that claims what was not settled, more messages handled again than a crash may cost.
//
// The history needs no clock. All processes append to the same file with one write an event, so the order of its lines
// is an order in which things really happened: of two turns that did not overlap, the later one's line of beginning
// stands behind the earlier one's line of ending. The page cache outlives a process that is killed, so does the history.
//
// Services keep progress in two ways. One tells a new owner what is settled (Kafka): what it is told is compared with what
// was committed. The other tells nothing and keeps back what was acknowledged (Pulsar): what was settled when the owner
// began, by anybody, takes the place of what it would have been told. There, only these may come again: what no
// stored commit covers; as many as the last one said that it could not express (batches that are settled in part,
// and what lies above them); what the broker confirms while it stops, or gives a topic away, and in the last second before
// that ([History.ForgetsInOrder]); and after a kill of it what it had confirmed in the last seconds, because it writes its
// cursors once a second ([History.Forgets]). Each message that comes again is held against that, not their number alone;
// and whatever comes again, all later ones of its key that were settled come again behind it.
//
// Where handlers emit ([History.Outputs]), a message is settled when its output is durable and not before: that is told by
// the sink of each process. What stands in the stream of the outputs in the end is read too, see [CheckOutputs].
//
// The scenarios are shared by all services that offer what they need, see Cluster in the tests. Those whose outcome a
// race inside a broker can decide are called TestSoak and are no part of the gate. They run when the
// variables of a service are set (tools/services/README.md), print their seed, and begin again with the same one by
// KEYSTRAND_LIVE_SEED. KEYSTRAND_LIVE_DIR keeps histories and the members' logs.
//
// A history can show that a promise was broken, not that it never will be. How fast anything was is not judged here.
package livetest
