// Package metadata asks the brokers of a cluster about topics: partitions, log identities, offsets, the ends of leader
// epochs, and the leader of a partition. It never creates a topic. A log that was deleted and created again has another
// identity where brokers have topic ids (Kafka 2.8 and later).
//
// It reads no records, commits nothing, and knows no groups.
package metadata
