// Package livetest holds pipelines on real services to their promises. It has no API. The members are processes of their own:
// they join and leave, are killed and frozen, and their brokers restart. All of them append their events to one file, the
// history. The checker reads it and reports each broken promise, such as a lost message, two messages of a key out of order or at
// the same time, progress that claims an unsettled message, or more replays than a crash may cost.
//
// The history needs no clock. A process appends each event with one write, so the lines are in an order in which the events
// happened. The page cache outlives a killed process.
//
// A service keeps progress in one of two ways. Kafka tells a new owner what is settled. Pulsar does not: it withholds
// acknowledged messages, and may forget some acknowledgements when a broker ends.
//
// Members can keep diverted keys in a store: a database, or a file with one member. A message that is durable there counts as
// settled for commits. Whoever owns its partition later handles it, in order, and again only until its mark is durable. When the
// members have left, the store has the messages that nobody has settled, and no others.
//
// Members that follow the binlog of MariaDB have a test of their own, since their messages have several lanes each. Connections
// change tables, and one member after the other is killed. At the end a bare reader, which shares no code with the source, tells
// which changes there are, in which order, and with which lanes. The checker holds the history to that as well, and compares the
// effects with the tables. TestLiveBinlog kills 10 members, or as many as KEYSTRAND_LIVE_KILLS says:
//
//	KEYSTRAND_LIVE_KILLS=100 go test -race -count=1 -v -run ^TestLiveBinlog ./livetest
//
// The scenarios are a table in scenarios_test.go; testdata/tales.txt shows that the checker finds each broken rule. TestLive runs
// the scenarios that this module alone decides, TestSoak those that a race inside a broker can decide. Both skip unless the
// variables of a service are set (tools/services/README.md). They print their seed; KEYSTRAND_LIVE_SEED repeats it. The flag
// -artifacts keeps histories and the logs of members.
//
// A history can show that a promise was broken, not that it never will be. No test asserts how long anything takes.
package livetest
