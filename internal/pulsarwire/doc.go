// Package pulsarwire reads and changes the wire form of Apache Pulsar's messages, where the client library (v0.19.0) hides a
// part of it. The library tells neither whether a key was sent as bytes, nor sequence ids, nor a null value, and it sets none
// of them.
//
// [Annotator] adds a [Note] on each message to a frame of a broker. The notes travel to the source as the name of the
// producer: over its bytes, if they have room there and the messages of the entry do not differ, else in front of it in a
// new frame.
// [Patch] sets the fields of messages in a batch that the library is about to send.
package pulsarwire
