// Package spill is the contract of the stores that keep the messages of hot and failing keys until their handler can take them.
// A message that a store has reported as durable is read again, in the order of offsets within its key, until it is marked as
// handled, also after a crash and by the next owner of its partition.
//
// A [Store] has a [Log] for each ownership of a partition. A log has a strand for each key that was diverted: the records of
// the key that are not handled yet, and a mark, the offset through which they are.
//
//   - memory keeps records in memory, for tests.
//   - bolt keeps them in one file, for one machine.
//   - sql keeps them in PostgreSQL or MariaDB, for pipelines whose partitions move between machines.
//   - spilltest is this contract as a test suite, for stores of your own.
//
// A store only keeps records. The pipeline decides which messages go there, and when they come back.
package spill
