// Package wire sends requests of the Kafka protocol over the connections of kafka-go's Transport, and reads and writes
// the primitive types of the protocol. A length that does not fit is an error before anything is allocated for it.
//
// It does not know what a response means, and retries nothing.
package wire
