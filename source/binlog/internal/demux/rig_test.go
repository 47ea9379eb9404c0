// Virtual time: tests call these in a bubble.

package demux

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
)

// reader is one run of a source, and the tables that it has accepted.
type reader struct {
	t      *testing.T
	src    *Source
	tables map[string]*owned
}

// owned is a table that fetches on demand.
type owned struct {
	t *testing.T
	source.Partition
	position int64
}

// read starts a source and accepts what it offers at once.
func read(t *testing.T, log Log, store commit.Store, cfg Config) *reader {
	t.Helper()
	cfg.Package, cfg.Store = "demux", store
	src, err := New(log, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, src: src, tables: make(map[string]*owned)}
	t.Cleanup(func() { r.close() })
	r.accept()
	return r
}

// accept accepts what is offered now.
func (r *reader) accept() {
	r.t.Helper()
	for {
		p, err := r.tryAccept()
		if errors.Is(err, errNothing) {
			return
		}
		if err != nil {
			r.t.Fatalf("accept: %v", err)
		}
		r.tables[p.ID().Stream] = &owned{r.t, p, p.Restored().Frontier}
	}
}

var errNothing = errors.New("nothing is left to do")

// tryAccept calls Accept until nothing in the bubble moves any more.
func (r *reader) tryAccept() (source.Partition, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Nanosecond, errNothing)
	defer cancel()
	return r.src.Accept(ctx)
}

// close releases all and closes the source.
func (r *reader) close() {
	r.t.Helper()
	if r.src == nil {
		return
	}
	for _, p := range r.tables {
		if err := p.Release(context.Background()); err != nil {
			r.t.Errorf("release: %v", err)
		}
	}
	if err := r.src.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
	r.src = nil
}

// fetch fetches once, for at most d.
func (o *owned) fetch(d time.Duration) (texts []string, err error) {
	b := source.Batch{MaxMessages: 1000, MaxBytes: 1 << 30}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if err := o.Fetch(ctx, &b); err != nil {
		return nil, err //nolint:wrapcheck // a test
	}
	at := o.position
	o.position = b.Next
	for i := range b.Messages {
		offset := b.Messages[i].Offset
		if offset < at || offset >= b.Next {
			o.t.Errorf("%v: fetched offset %d at position %d, next is %d", o.ID(), offset, at, b.Next)
		}
		at = offset + 1
		texts = append(texts, textOf(&b.Messages[i]))
	}
	return texts, nil
}

// textOf returns the text of a row or a statement.
func textOf(m *keystrand.Message) string {
	switch n := m.Native.(type) {
	case *binlog.Row:
		return fmt.Sprint(n.After[0])
	case *binlog.DDL:
		return n.Query
	}
	return ""
}

// sees fetches until it has seen as many messages as it wants, for at most d.
func (o *owned) sees(d time.Duration, want ...string) {
	o.t.Helper()
	var got []string
	for end := time.Now().Add(d); len(got) < len(want); {
		texts, err := o.fetch(time.Until(end))
		if err != nil {
			o.t.Fatalf("%v: fetched %q, want %q: %v", o.ID(), got, want, err)
		}
		got = append(got, texts...)
	}
	if !slices.Equal(got, want) {
		o.t.Fatalf("%v: fetched %q, want %q", o.ID(), got, want)
	}
}

// silent checks that Fetch returns no message for so long.
func (o *owned) silent(d time.Duration) {
	o.t.Helper()
	for end := time.Now().Add(d); ; {
		texts, err := o.fetch(time.Until(end))
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if err != nil || len(texts) > 0 {
			o.t.Fatalf("%v: fetched %q, %v, want nothing", o.ID(), texts, err)
		}
	}
}

// commit settles everything that was fetched.
func (o *owned) commit() {
	o.t.Helper()
	o.commitAt(o.position)
}

func (o *owned) commitAt(frontier int64, ahead ...commit.Range) {
	o.t.Helper()
	_, err := o.Commit(context.Background(), &commit.Progress{Frontier: frontier, Ahead: ahead})
	if err != nil {
		o.t.Fatalf("commit of %v at %d: %v", o.ID(), frontier, err)
	}
}

// numbers returns the texts of n rows.
func numbers(name string, from, n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint(name, from+i))
	}
	return texts
}
