package drc

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
)

// killed is what the processes of one test have read, one after the other.
type killed struct {
	mu     sync.Mutex
	stored map[string]int      // messages below the stored frontier, by stream
	lives  map[string][]life   // by stream
	total  map[string]int      // messages of the last process and those stored before
	random func(n int) (k int) // safe for concurrent use
}

// life is what one process has read of a table.
type life struct {
	stored int // before it
	read   []string
}

// read reads a table until ctx ends, and commits now and then.
func (k *killed) read(ctx context.Context, t *testing.T, p source.Partition) {
	t.Helper()
	stream := p.ID().Stream
	k.mu.Lock()
	before := k.stored[stream]
	k.lives[stream] = append(k.lives[stream], life{stored: before})
	n := len(k.lives[stream]) - 1
	k.mu.Unlock()
	got, next := 0, p.Restored().Frontier
	for ctx.Err() == nil {
		b := source.Batch{MaxMessages: 1 + k.random(20), MaxBytes: 1 << 20}
		limited, cancel := context.WithTimeout(ctx, 20*time.Millisecond) // a statement waits for a commit
		err := p.Fetch(limited, &b)
		late := limited.Err() != nil
		cancel()
		if err != nil && !late {
			if ctx.Err() == nil && !strings.Contains(err.Error(), errClosed.Error()) {
				t.Errorf("fetch %s: %v", stream, err)
			}
			return
		}
		k.mu.Lock()
		for i := range b.Messages {
			k.lives[stream][n].read = append(k.lives[stream][n].read, nameOf(&b.Messages[i]))
		}
		got += len(b.Messages)
		k.total[stream] = before + got
		k.mu.Unlock()
		if err == nil {
			next = b.Next
		}
		if err == nil && k.random(3) > 0 {
			continue
		}
		own := *p.Restored()
		own.Frontier, own.Ahead = next, nil
		if _, err := p.Commit(context.WithoutCancel(ctx), &own); err != nil {
			t.Errorf("commit %s: %v", stream, err)
			return
		}
		k.mu.Lock()
		k.stored[stream] = before + got
		k.mu.Unlock()
	}
}

// sum returns how many messages were read.
func (k *killed) sum() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, total := range k.total {
		n += total
	}
	return n
}

// nameOf names a message: the transaction, and the row in it.
func nameOf(m *keystrand.Message) string {
	if d, ok := m.Native.(*binlog.DDL); ok {
		return d.Transaction + " " + d.Query
	}
	r := rowOf(*m)
	return fmt.Sprintf("%s %v %v %v %d", r.Transaction, r.Kind, r.Before, r.After, len(r.Table.Columns))
}

// Processes are killed one after the other while a generator changes rows and tables, and connections are cut. Each process must
// read each table from exactly the message behind the stored frontier, in the order of the log, without a gap.
func TestKilledSourcesReadEachTableFromItsExactMessage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(seed, 0))
		k := &killed{stored: map[string]int{}, lives: map[string][]life{}, total: map[string]int{}, random: func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(n)
		}}
		g := Generator{Seed: seed, Topics: 2, Tables: 3, Keys: 30, Rows: 4_000, Rate: 1_000, DDL: 50}
		s := serve(t, ServerConfig{Topics: g.TopicNames()})
		store, n := newMemStore(), networkTo(s)
		var feeding sync.WaitGroup
		feeding.Go(func() {
			if err := g.Run(t.Context(), s.Server); err != nil {
				t.Error(err)
			}
		})
		for last := false; !last; {
			last = len(k.lives["topic-1/shop1.table1"]) == 12
			src := open(t, n, store, Config{Timeout: time.Second, TableBytes: 2_000 + k.random(20_000), CatchUp: 1 + k.random(3)}, g.TopicNames()...)
			ctx, kill := context.WithCancel(t.Context())
			var reading sync.WaitGroup
			reading.Go(func() {
				for {
					p, err := src.Accept(ctx)
					if err != nil {
						return
					}
					reading.Go(func() { k.read(ctx, t, p) })
				}
			})
			time.Sleep(time.Duration(100+k.random(500)) * time.Millisecond)
			n.cut()
			time.Sleep(time.Duration(50+k.random(100)) * time.Millisecond)
			if last {
				feeding.Wait()
				for before := -1; before < k.sum(); { // until nothing has come for 5 s
					before = k.sum()
					time.Sleep(5 * time.Second)
				}
			}
			kill()
			crash(src)
			reading.Wait()
			for _, topic := range src.topics {
				_ = topic.Source.Close() // its process has ended
			}
		}
		for stream, want := range expected(t, s, g.TopicNames()) {
			if k.total[stream] != len(want) {
				t.Errorf("%s: %d messages were read, want %d", stream, k.total[stream], len(want))
			}
			for i, l := range k.lives[stream] {
				if l.stored+len(l.read) > len(want) || !slices.Equal(l.read, want[l.stored:l.stored+len(l.read)]) {
					t.Errorf("%s: process %d began behind %d messages, and did not read what follows them", stream, i, l.stored)
				}
			}
			if len(k.lives[stream]) < 10 {
				t.Errorf("%s: %d processes had it, want at least 10", stream, len(k.lives[stream]))
			}
		}
	})
}

// expected returns the messages of all tables, as a client like curl reads them.
func expected(t *testing.T, s *service, topics []string) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for _, topic := range topics {
		r := s.readPath(t, "/topics/"+topic+"/records?from=oldest")
		records, _ := r.take()
		for _, record := range records {
			place := fmt.Sprintf("%s@log1:%d", topic, record.Transaction)
			switch record.Type {
			case Row:
				all[topic+"/"+record.Table] = append(all[topic+"/"+record.Table],
					fmt.Sprintf("%s %s %v %v %d", place, record.Kind, record.Before, record.After, len(record.Columns)))
			case DDL:
				for _, table := range record.Tables {
					all[topic+"/"+table] = append(all[topic+"/"+table], place+" "+record.Query)
				}
			case Commit, Heartbeat, Failure:
			}
		}
		r.close()
	}
	if len(all) != 6 {
		t.Errorf("tables = %v, want 6", slices.Sorted(maps.Keys(all)))
	}
	return all
}
