// Package kafka is a sink that writes to Apache Kafka. A message that Write reports as durable has been acknowledged by
// all in-sync replicas of its partition, and the messages of one key stand in its partition in the order in which they
// were written, whatever failed and was tried again in between.
//
// A message goes to the topic given to [New], or with Config.ByStream to the topic named by its Stream. One with a key
// goes to the partition that the Java producer would choose (or another [Partitioner]), counted over all partitions, even
// if their leader is away; one without a key goes to one that has a leader, in turns. Topics are never created.
//
// Passing faults (a leader moves, a broker restarts, replicas lag) are healed inside a Write for HealTimeout; one
// request is in flight for each writer and partition, so nothing overtakes.
//
// What is not promised: that a message is stored once. The client library has no idempotent producer, so a reply that is
// lost means that the batch is written again and stands in the log twice: 1 2 3 1 2 3 4, in order each time. A request
// that was given up is broken off, never sent later; but a broker that froze after it had received it may append it when
// it goes on, even behind later messages: 1 2 3 4 1 2 3. Consumers that must not see a message twice have to recognize
// it. Order across a change of a topic's number of partitions is not kept either: keys then move.
package kafka
