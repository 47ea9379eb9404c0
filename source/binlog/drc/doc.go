// Package drc has a small DRC-style service and a source that reads it: many topics of row changes, as lines of JSON over HTTP.
// docs/drc.md describes the protocol on one page.
//
// [New] makes the source. Every table of every topic is a partition, and every change of a row a message with a [binlog.Row] or a
// [binlog.DDL]. Progress is kept in a commit.Store, for each table apart. A restart goes on at the exact row.
//
//	src, err := drc.New("http://localhost:7070", []string{"shop"}, store, drc.Config{})
//
// [Server] is the service. Command drcd below this package runs it.
//
//	s, err := drc.NewServer(drc.ServerConfig{Topics: []string{"shop"}})
//	err = s.Append("shop", drc.Record{Type: drc.DDL, Database: "shop", Query: "CREATE TABLE …", Tables: []string{"shop.orders"}})
//	err = http.ListenAndServe("localhost:7070", s)
//
// At most one subscriber of a topic is active and receives records. Further ones stay connected and receive heartbeats only.
// When the active one leaves or dies, the one that has waited longest becomes active. A subscriber may select tables, and
// begins behind a checkpoint for each table. A checkpoint is the end of a transaction.
//
// A [Generator] or a recorded file ([Replay]) feeds the server. Everything is in memory: a topic keeps its latest records, up
// to a number of them, and forgets them when the process ends.
//
// Not promised:
//
//   - The service has no users, passwords or TLS of its own, and keeps no progress of subscribers.
//   - A process that was frozen or cut off may still handle rows when the next one begins. A sink can reject its late effects by
//     Message.Epoch.
//   - Rows of a transaction come in the order of the log, each table on its own.
package drc
