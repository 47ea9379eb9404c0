// Package kafka is a sink that writes to Apache Kafka. A message that Write reports as durable has been acknowledged by all
// in-sync replicas of its partition. Retries keep the order: the messages of one key are in their partition in the order in
// which they were written.
//
// # Topics and partitions
//
//   - The topic of a message is the topic passed to [New], or with Config.ByStream its Stream. The sink never creates topics.
//     [Sink.Check], which a pipeline calls at its start, finds a missing one.
//   - The partition of a message with a key is chosen by the [Partitioner] among all partitions of the topic, with or without
//     a leader. By default it is the partition that the Java producer chooses.
//   - Messages without a key are spread over the partitions that have a leader.
//
// # Times
//
// Message.Time becomes the timestamp of the record, in milliseconds, and a message without a time has the time of writing. The
// broker acts on timestamps: it deletes records by them, and refuses those outside message.timestamp.before.max.ms and
// message.timestamp.after.max.ms (1 hour ahead by default, since Kafka 4.0), which is a permanent failure. With
// message.timestamp.type=LogAppendTime it replaces them. A time that does not fit into 64 bits of milliseconds, or that is -1 ms,
// which Kafka takes for none, is a permanent failure that names the message.
//
// # Retries
//
// Write retries transient errors for Config.HealTimeout: a leader moves, a broker restarts, replicas lag. Each writer has at
// most one request in flight for a partition, so a retry never reorders messages.
//
// # Not promised
//
//   - That a message is stored once. The client library has no idempotent producer: after a lost reply the batch is written
//     again, in order, and the log has 1 2 3 1 2 3 4.
//   - That a message stored twice is still in order, if a broker freezes. A canceled request is never sent later, but a frozen
//     broker may already have received it. When it resumes, it may append the request behind later messages: 1 2 3 4 1 2 3.
//     Consumers must detect duplicates if they cannot tolerate them.
//   - Order across a change of the number of partitions of a topic, which moves keys to other partitions.
package kafka
