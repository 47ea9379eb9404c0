package drc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/sourcetest"
)

// message is a message of the suite, as a row has it.
type message struct {
	Key, Value []byte
	Headers    []keystrand.Header
}

// env returns the suite's view of a service with two topics and three tables. Another table is not wanted.
//
// There is no Env.Recreate: the service refuses checkpoints of another log, so the source ends with an error. See
// TestCheckpointsThatTheServiceRefusesAreFinal.
func env(t *testing.T, cfg Config) sourcetest.Env {
	t.Helper()
	topics := []string{"north", "south"}
	s := serve(t, ServerConfig{Topics: topics})
	store, n := newMemStore(), networkTo(s)
	cfg.Tables = []string{"db.wanted*"}
	tables := []struct{ topic, name string }{{"north", "db.wanted1"}, {"north", "db.wanted2"}, {"south", "db.wanted1"}}
	transactions, next := map[string]int64{}, map[string]int64{"north": 1, "south": 1} // of each topic; next is its offset
	put := func(topic string, records ...Record) error {
		transactions[topic]++
		wanted := strings.HasPrefix(records[0].Table, "db.wanted")
		if wanted {
			next[topic] += int64(len(records))
		}
		if wanted || transactions[topic]%commitEvery == 0 {
			next[topic]++
		}
		return s.Append(topic, records...)
	}
	var streams []string
	for _, table := range tables {
		if err := s.Append(table.topic, Record{Type: DDL, Query: "CREATE TABLE", Tables: []string{table.name}}); err != nil {
			t.Fatal(err)
		}
		transactions[table.topic]++
		streams = append(streams, table.topic+"/"+table.name)
	}
	behind := cfg // the suite expects no statements
	behind.FromEnd = true
	consume(t, open(t, n, store, behind, topics...), streams...).close()
	return sourcetest.Env{
		Partitions: len(tables),
		ID:         func(i int) (string, int32) { return streams[i], 0 },
		Join: func() (source.Source, error) {
			c := cfg
			c.Client = n.client()
			return New("http://drc", topics, store, c)
		},
		Produce: func(partition int32, msgs ...keystrand.Message) error {
			table := tables[partition]
			for len(msgs) > 0 {
				var tx []Record
				for _, m := range msgs[:min(len(msgs), 3)] {
					text, err := json.Marshal(message{m.Key, m.Value, m.Headers})
					if err != nil {
						return err
					}
					tx = append(tx, Record{
						Type: Row, Table: table.name, Kind: Insert, After: []any{string(text)}, Columns: []Column{{Name: "text", Type: "text"}},
					})
				}
				msgs = msgs[len(tx):]
				if err := put(table.topic, tx...); err != nil {
					return err
				}
			}
			return nil
		},
		Plain: func(m keystrand.Message) keystrand.Message {
			var p message
			if err := json.Unmarshal(fmt.Append(nil, rowOf(m).After[0]), &p); err != nil {
				panic(err)
			}
			m.Key, m.Value, m.Headers = p.Key, p.Value, p.Headers
			return m
		},
		Skip: func(partition int32) (int64, error) {
			topic := tables[partition].topic
			for range commitEvery {
				if err := put(topic, row("db.other", 1)); err != nil {
					return 0, err
				}
			}
			return next[topic], nil
		},
		Crash: func(src source.Source) error {
			s, ok := src.(*joined)
			if !ok {
				return fmt.Errorf("a source of type %T", src)
			}
			crash(s)
			return nil
		},
		Alone:    true,
		Patience: 3 * time.Second,
		Wait:     10 * time.Minute,
	}
}

func TestSourceKeepsTheContract(t *testing.T) {
	for name, cfg := range map[string]Config{
		"default":  {},
		"no room":  {TableBytes: 1, QueueBytes: 1},
		"one turn": {TableBytes: 3000, CatchUp: 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range sourcetest.Cases() {
				t.Run(c.Name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { c.Test(t, env(t, cfg)) })
				})
			}
		})
	}
}
