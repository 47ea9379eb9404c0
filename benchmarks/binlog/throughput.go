package main

import (
	"context"

	"github.com/keystrand/keystrand/benchmarks/internal/bench"
	"github.com/keystrand/keystrand/benchmarks/internal/binlogbench"
)

const rowBytes = 100 // in the log

type throughputRow struct {
	Part   string  `json:"part"`
	Engine string  `json:"engine"`
	Log    string  `json:"log"`
	Tables string  `json:"tables"`
	Rows   int     `json:"rows"` // in the log
	Rate   float64 `json:"per_s"`
	Ratio  float64 `json:"ratio"`     // to the rate of the first engine
	CPU    float64 `json:"cpu_ns"`    // a row, of the reading process
	CPUOf  float64 `json:"cpu_ratio"` // to the first engine's
	Allocs float64 `json:"allocs"`    // a row
	More   float64 `json:"allocs_more"`
	Server float64 `json:"server_cpu_ns"` // a row, of the server
	Bytes  float64 `json:"sent_bytes"`    // a row, by the server
	RSS    float64 `json:"rss_mb"`
	Goal   string  `json:"goal"`
}

// measured is an engine, and what it reads.
type measured struct {
	engine string
	tables []string // wanted ones
	rows   int      // of these
	goal   string
}

// compare measures engines on one log of so many rows. They alternate; a ratio is the median of the rounds' ratios.
func (r *run) compare(ctx context.Context, p binlogbench.Primary, t *bench.Table, row throughputRow, from string, engines ...measured) error {
	all, err := bench.Alternate(pick(r, 5, 2), len(engines), nil, func(_, i int) (readResult, error) {
		e, before := engines[i], p.CPU()
		res, err := bench.Run[readResult](ctx, "read", reading{Client: p.Client(), Engine: e.engine, From: from, Tables: e.tables, Rows: e.rows})
		res.server = (p.CPU() - before).Seconds()
		return res, err
	})
	if err != nil {
		return err
	}
	n := float64(row.Rows)
	for i, e := range engines {
		median := func(figure func(res, first readResult) float64) float64 { return all.Median(i, figure) }
		row.Engine, row.Goal, row.Log = e.engine, e.goal, r.log
		row.Rate = median(func(res, _ readResult) float64 { return n / res.Seconds })
		row.Ratio = median(func(res, first readResult) float64 { return first.Seconds / res.Seconds })
		row.CPU = median(func(res, _ readResult) float64 { return res.CPU / n * 1e9 })
		row.CPUOf = median(func(res, first readResult) float64 { return res.CPU / first.CPU })
		row.Allocs = median(func(res, _ readResult) float64 { return res.Allocs / n })
		row.More = median(func(res, first readResult) float64 { return (res.Allocs - first.Allocs) / n })
		row.Server = median(func(res, _ readResult) float64 { return res.server / n * 1e9 })
		row.Bytes = median(func(res, _ readResult) float64 { return res.Received / n })
		row.RSS = median(func(res, _ readResult) float64 { return res.RSS })
		t.Row(row)
	}
	return nil
}

// fill creates tables and writes a log. It returns the place before it.
func fill(ctx context.Context, p binlogbench.Primary, keys int, l binlogbench.Load) (string, error) {
	if err := p.Create(ctx, keys, l.Tables...); err != nil {
		return "", err
	}
	from, err := p.Place(ctx)
	if err != nil {
		return "", err
	}
	return from, p.Write(ctx, l)
}

// throughput compares the source and a pipeline with a loop of go-mysql, on a table with one unique key and on one with two.
func throughput(ctx context.Context, r *run, p binlogbench.Primary) error {
	t := bench.NewTable("throughput: one table, rows of 100 bytes, empty handler", r.json)
	rows := pick(r, 2_000_000, 200_000)
	for _, c := range []struct {
		table, name string
		keys        int
		goals       [2]string
	}{
		{"one", "one key a row", 1, [2]string{"cpu_ratio <= 1.3, allocs_more <= 0.1", "cpu_ratio <= 1.9, ratio >= 0.45, allocs_more <= 0.1"}},
		{"two", "two keys a row", 2, [2]string{"", "cpu_ratio <= 2.6, allocs_more <= 1"}},
	} {
		names := []string{c.table}
		from, err := fill(ctx, p, c.keys, binlogbench.Load{Tables: names, Rows: rows, Transaction: 1000, Value: rowBytes})
		if err != nil {
			return err
		}
		if err := r.compare(ctx, p, t, throughputRow{Part: "throughput", Tables: c.name, Rows: rows}, from,
			measured{loop, names, rows, ""}, measured{sourceAlone, names, rows, c.goals[0]}, measured{keyed, names, rows, c.goals[1]}); err != nil {
			return err
		}
	}
	return nil
}

// filter compares a pipeline that wants one of ten tables with one that wants all.
func filter(ctx context.Context, r *run, p binlogbench.Primary) error {
	t := bench.NewTable("filter: ten tables, rows of 100 bytes, rates are those of the log", r.json)
	rows, names := pick(r, 2_000_000, 200_000), numbered(10)
	from, err := fill(ctx, p, 1, binlogbench.Load{Tables: names, Rows: rows, Transaction: 100, Value: rowBytes})
	if err != nil {
		return err
	}
	return r.compare(ctx, p, t, throughputRow{Part: "filter", Tables: "first all, then one of ten", Rows: rows}, from,
		measured{keyed, names, rows, ""}, measured{keyed, names[:1], rows / 10, "ratio >= 1.5"})
}

// tables compares one connection, whose rows are told apart by table, with a connection for each table.
func tables(ctx context.Context, r *run, p binlogbench.Primary) error {
	t := bench.NewTable("tables: one connection for 8 tables, or one each", r.json)
	rows, names := pick(r, 2_000_000, 200_000), numbered(8)
	from, err := fill(ctx, p, 1, binlogbench.Load{Tables: names, Rows: rows, Transaction: 100, Value: rowBytes})
	if err != nil {
		return err
	}
	return r.compare(ctx, p, t, throughputRow{Part: "tables", Tables: "8", Rows: rows}, from,
		measured{keyed, names, rows, ""}, measured{connections, names, rows, ""})
}
