// Package memory is a log in memory: partitions with offsets that may skip, groups that keep progress and share the
// partitions among their members, hand-over, crash and restart. It keeps the whole contract of package source, so a
// pipeline behaves on it as on a real log, and a test needs no broker.
//
//	log := memory.NewLog("comments", 8)
//	log.Append(0, keystrand.Message{Key: []byte("post-1"), Value: []byte("first")})
//	src := memory.NewSource(memory.Config{}, log)
//
// A [Log] is what a broker keeps: messages, and for each group its progress, its epochs and who owns what. A [Source]
// is one member of a group: make another one to scale out, close it to leave, [Source.Crash] it to see what a kill
// does, and make a new one to restart. [Config] has hooks for the faults of the real world: messages that cannot be
// read, commits that fail, are slow, or are stored while the reply is lost.
//
// Everything waits on channels and timers alone, so it runs in a testing/synctest bubble.
//
// Nothing outlives the process, and members in other processes cannot join.
package memory
