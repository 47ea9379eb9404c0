// Package client puts the quirks of apache/pulsar-client-go (v0.19.0) behind a small interface. A consumer of messages ends
// with its connection and never redelivers. [Log] reports a disconnect before any other goroutine can act on it. [Call]
// returns in bounded time although the library hangs.
//
// Quirks:
//
//   - Nothing but a line of the library's log, at level debug, says that a connection ends. The library writes it on the
//     goroutine that ends the connection, before the consumer learns of it. A test compares the lines that Log matches with
//     the library's source: read that source again before you upgrade the library.
//   - A consumer that reconnects mixes up a later lock with the one it lost: another process may have owned the partition,
//     the broker may have forgotten the last acknowledgements, and the library drops queued messages while its reader
//     still delivers later ones. So a consumer of messages never reconnects.
//   - GetLastMessageIDs waits for ever if the consumer is closed between two attempts. A pause without end between attempts
//     makes it return after its operation timeout.
//   - Calls take no context. A look-up can take several operation timeouts, an acknowledgement hangs while the broker is
//     silent, and so may the constructor, since it requests the first token.
//   - Callbacks and log lines come from goroutines of the library, some from the one that reads the connection. They must
//     not block.
//   - Every call fails with "connection error" after its operation timeout, whether the broker is down or refuses the token.
//     Only the log tells, at once.
//   - Errors of the broker arrive as text.
//   - A broker's message about a candidate is dropped if it arrives before the answer to the candidate's attachment. The
//     line "Connected consumer" comes before any later message.
//   - The library acknowledges the chunks of an incomplete message after a minute, and has no option against it. It logs a line
//     first. Where it does that on the goroutine that waited for the minute, Log ends the goroutine (runtime.Goexit). On
//     the goroutine that reads the connection it must not: there the producer has sent the message again.
//   - The library acknowledges a message that it cannot read. It logs a line first, which has the id that it will acknowledge:
//     Log changes that id to one before all messages.
//   - The library takes the hosts of a URL in turns and waits for each: see package pulsarprobe.
//   - A message that cannot be decrypted is held back, and the subscription rewinds a minute later. So undecryptable
//     messages are delivered, with their encryption context.
//   - The library hides the form of keys, null values and sequence ids, and acknowledges a message without value and
//     properties outside a batch, unseen. At level debug it logs each frame before it looks at it: Log changes the frame there.
//     The source logs an error if a message arrives without the note that Log has written.
//   - A negative acknowledgement on an exclusive subscription rewinds everything. None is ever sent.
package client
