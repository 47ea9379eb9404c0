// Package drc has a small DRC-style service: many topics of row changes, as lines of JSON over HTTP. [Server] is the service,
// and docs/drc.md describes its protocol on one page. Command drcd below this package runs it.
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
// The service has no users, passwords or TLS of its own, and keeps no progress of subscribers.
package drc
