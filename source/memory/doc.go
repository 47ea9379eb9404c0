// Package memory is a source that reads a log in memory. It fulfils the whole contract of package source, so a test of a
// pipeline needs no broker. It supports skipped offsets, groups that share partitions among their members, hand-over, crash and
// restart.
//
//	log := memory.NewLog("comments", 8)
//	log.Append(0, keystrand.Message{Key: []byte("post-1"), Value: []byte("first")})
//	src := memory.NewSource(memory.Config{}, log)
//
// A [Log] takes the place of a broker. It holds the messages, and for each group the progress, the epochs and the owners. A
// [Source] is one member of a group. Make another one to scale out. Close it to leave the group. [Source.Crash] simulates a
// killed process, and a new Source its restart. [Config] has hooks that simulate faults: unreadable messages, commits that fail
// or are slow, and lost replies.
//
// The package waits only on channels and timers, so it can run in a testing/synctest bubble.
//
// A log does not outlive its process, and other processes cannot join its groups.
package memory
