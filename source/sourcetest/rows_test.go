package sourcetest_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/sourcetest"
)

// row is a message that rides in Native, as the row of a table does.
type row struct {
	key, value []byte
	headers    []keystrand.Header
	size       int
}

func (r *row) AppendValue(dst []byte) ([]byte, error) { return append(dst, r.value...), nil }
func (r *row) Size() int                              { return r.size }

// plain returns a new message with copies of what a row has, as one that is decoded does.
func plain(fetched keystrand.Message) keystrand.Message {
	r := fetched.Native.(*row) //nolint:errcheck // all messages are rows
	m := keystrand.Message{Key: bytes.Clone(r.key), Value: bytes.Clone(r.value)}
	for _, h := range r.headers {
		m.Headers = append(m.Headers, keystrand.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)})
	}
	return m
}

// table returns the name of partition i of a rowSource: a stream of its own, whose only partition is 0.
func table(i int) (stream string, partition int32) { return fmt.Sprintf("shop.table_%d", i), 0 }

// rowSource makes each partition of a source a table, and each message a row.
type rowSource struct{ *broken }

func (s rowSource) Accept(ctx context.Context) (source.Partition, error) {
	p, err := s.broken.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return rowPartition{p}, nil
}

type rowPartition struct{ source.Partition }

func (p rowPartition) ID() source.ID {
	id := p.Partition.ID()
	id.Stream, id.Partition = table(int(id.Partition))
	return id
}

func (p rowPartition) Fetch(ctx context.Context, b *source.Batch) error {
	if err := p.Partition.Fetch(ctx, b); err != nil {
		return err
	}
	id := p.ID()
	for i, m := range b.Messages {
		b.Messages[i] = keystrand.Message{
			Stream: id.Stream, Partition: id.Partition, Offset: m.Offset, Time: m.Time,
			Native: &row{m.Key, m.Value, m.Headers, m.Size()},
		}
	}
	return nil
}

func (p rowPartition) End() (int64, bool) {
	return p.Partition.(source.Lagger).End() //nolint:errcheck // broken's always is one
}

// asRows makes the source of an Env of newEnv a source of tables.
func asRows(env sourcetest.Env) sourcetest.Env {
	of := func(join func() (source.Source, error)) func() (source.Source, error) {
		return func() (source.Source, error) {
			s, err := join()
			if err != nil {
				return nil, err
			}
			return rowSource{s.(*broken)}, nil //nolint:errcheck // join makes no others
		}
	}
	inner := func(s source.Source) source.Source {
		return s.(rowSource).broken //nolint:errcheck // join makes no others
	}
	stream, crash, lose := env.Stream, env.Crash, env.Lose
	env.Join, env.JoinFinite = of(env.Join), of(env.JoinFinite)
	env.Crash = func(s source.Source) error { return crash(inner(s)) }
	env.Lose = func(s source.Source, id source.ID) error {
		for i := range env.Partitions {
			if name, _ := table(i); name == id.Stream {
				return lose(inner(s), source.ID{Stream: stream, Partition: int32(i), Epoch: id.Epoch})
			}
		}
		return fmt.Errorf("%v is no table", id)
	}
	env.Stream, env.ID, env.Plain = "", table, plain
	return env
}

// Every case runs on a source whose partitions are streams, and whose messages have neither key nor value nor headers.
func TestSourceOfRowsPassesEveryCase(t *testing.T) {
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := c.Run(t.Context(), asRows(newEnv(func(*broken) {}))); err != nil { // also a MissingError
					t.Error(err)
				}
			})
		})
	}
}

func TestNamesOfPartitionsMustDiffer(t *testing.T) {
	env := asRows(newEnv(func(*broken) {}))
	env.ID = func(i int) (string, int32) { return table(i / 2) }
	err := sourcetest.Cases()[0].Run(t.Context(), env)
	if err == nil || !strings.Contains(err.Error(), "Env.ID returns shop.table_0/0 for 0 and for 1") {
		t.Errorf("got %v, want an error about the name that comes twice", err)
	}
}

// A partition that the Env does not name fails every case at once, and the error names it.
func TestPartitionThatTheEnvDoesNotNameIsAnError(t *testing.T) {
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				env := asRows(newEnv(func(*broken) {}))
				env.ID = nil
				env.Stream = "comments"
				began := time.Now()
				err := c.Run(t.Context(), env)
				if err == nil || !strings.Contains(err.Error(), "accepted shop.table_") {
					t.Errorf("got %v, want an error that names the partition", err)
				}
				if d := time.Since(began); d >= time.Minute {
					t.Errorf("it took %v: it waited for a partition that cannot come", d)
				}
			})
		})
	}
}
