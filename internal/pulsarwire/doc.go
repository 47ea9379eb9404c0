// Package pulsarwire reads and changes the wire form of Apache Pulsar's messages, where the client library (v0.19.0) hides a
// part of it. The library tells neither whether a key was sent as bytes, nor sequence ids, nor a null value, and it sets none
// of them.
//
// [Annotate] adds a [Note] on each message to a frame of a broker, which travels to the source within the producer's name.
// [Patch] sets the fields of messages in a batch that the library is about to send.
package pulsarwire
