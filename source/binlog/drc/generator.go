package drc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Generator feeds a server with changes of rows. The same seed gives the same transactions in each topic, times apart, whatever
// the rate.
//
// A topic has one database. Each of its tables has a primary key id, a unique key code that may be NULL, and columns without
// a key. Rows are inserted, changed and deleted; ids and codes change, and those that became free are given to other rows.
// A transaction changes up to four rows of any tables. At times a table gets or loses a column.
type Generator struct {
	Seed uint64
	// Topics is the number of topics. Default: 4.
	Topics int
	// Tables is the number of tables of a topic. Default: 6.
	Tables int
	// Keys bounds the rows that a table has at a time. Default: 1000.
	Keys int
	// Rows bounds the rows and statements of a topic. Default: 0, no bound.
	Rows int
	// Rate is how many rows a second each topic gets. Default: 0, as many as the machine can make.
	Rate int
	// DDL is the number of transactions from one ALTER TABLE of a topic to the next. Default: 1000.
	DDL int
}

func (g Generator) withDefaults() Generator {
	g.Topics, g.Tables, g.Keys, g.DDL = cmp.Or(g.Topics, 4), cmp.Or(g.Tables, 6), cmp.Or(g.Keys, 1000), cmp.Or(g.DDL, 1000)
	return g
}

// TopicNames returns the names of the topics, for a [ServerConfig]: topic-1, topic-2, and so on.
func (g Generator) TopicNames() []string {
	var names []string
	for i := range g.withDefaults().Topics {
		names = append(names, fmt.Sprintf("topic-%d", i+1))
	}
	return names
}

// Run appends to the server until all rows are there, and returns nil, or until ctx ends, and returns its cause.
func (g Generator) Run(ctx context.Context, s *Server) error {
	g = g.withDefaults()
	if min(g.Topics, g.Tables, g.Keys, g.Rows, g.Rate, g.DDL) < 0 {
		return fmt.Errorf("drc: generator: a number is negative: %+v", g)
	}
	errs := make([]error, g.Topics)
	var wg sync.WaitGroup
	for i, topic := range g.TopicNames() {
		wg.Go(func() { errs[i] = g.feed(ctx, s, topic, newMaker(g, i)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (g Generator) feed(ctx context.Context, s *Server, topic string, m *maker) error {
	pace := newPace(g.Rate)
	for rows := 0; g.Rows == 0 || rows < g.Rows; {
		records := m.next()
		if err := pace.wait(ctx, len(records)); err != nil {
			return err
		}
		if err := s.Append(topic, records...); err != nil {
			return err
		}
		rows += len(records)
	}
	return nil
}

// maker makes the transactions of one topic.
type maker struct {
	g            Generator
	random       *rand.Rand
	tables       []*table
	transactions int
}

func newMaker(g Generator, topic int) *maker {
	m := &maker{g: g, random: rand.New(rand.NewPCG(g.Seed, uint64(topic)))}
	for i := range g.Tables {
		m.tables = append(m.tables, newTable(fmt.Sprintf("shop%d.table%d", topic+1, i+1), g.Keys, m.random))
	}
	return m
}

func (m *maker) next() []Record {
	m.transactions++
	if m.transactions <= len(m.tables) {
		return []Record{m.tables[m.transactions-1].create()}
	}
	if m.transactions%m.g.DDL == 0 {
		return []Record{m.pick().alter()}
	}
	records := make([]Record, 1+m.random.IntN(4))
	for i := range records {
		records[i] = m.pick().change()
	}
	return records
}

func (m *maker) pick() *table { return m.tables[m.random.IntN(len(m.tables))] }

// pace keeps to a rate of rows.
type pace struct {
	rate  int // rows a second; 0: no limit
	start time.Time
	rows  int
}

func newPace(rate int) *pace { return &pace{rate: rate, start: time.Now()} }

// wait blocks until the next rows are due, or ctx ends.
func (p *pace) wait(ctx context.Context, rows int) error {
	if p.rate > 0 {
		due := p.start.Add(time.Duration(float64(p.rows) / float64(p.rate) * float64(time.Second)))
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	p.rows += rows
	return context.Cause(ctx)
}
