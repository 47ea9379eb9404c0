// Package livetest holds pipelines on real services to their promises, with members that are processes of their own:
// they leave and join, are killed and frozen, and their brokers restart. Every event of every process goes to one file,
// the history, and [Check] says what in it breaks a promise: a message lost, two of a key out of order or at the same
// time, progress that claims what was not settled, more messages handled again than a crash may cost.
//
// The history needs no clock. All processes append to the same file with one write an event, so the order of its lines
// is an order in which things really happened: of two turns that did not overlap, the later one's line of beginning
// stands behind the earlier one's line of ending. The page cache outlives a process that is killed, so does the history.
//
// The scenarios are shared by all services that offer what they need, see Cluster in the tests. They run when the
// variables of a service are set (tools/services/README.md), print their seed, and begin again with the same one by
// KEYSTRAND_LIVE_SEED. KEYSTRAND_LIVE_DIR keeps histories and the members' logs.
//
// A history can show that a promise was broken, not that it never will be. How fast anything was is not judged here.
package livetest
