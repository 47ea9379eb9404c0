package main

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/source/binlog/drc"
)

// clientsTime is how long the clients are measured.
const clientsTime = 4 * time.Second

// oneClientATable reads each table with a client of its own, which handles one change after the other, from the oldest on. It
// returns changes a second. There is enough for them to do.
func oneClientATable(ctx context.Context, service string, streams []string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, clientsTime)
	defer cancel()
	var (
		handled atomic.Int64
		wg      sync.WaitGroup
		errs    = make([]error, len(streams))
	)
	for i, stream := range streams {
		topic, table, _ := strings.Cut(stream, "/")
		wg.Go(func() {
			query := url.Values{"from": {"oldest"}, "table": {table}, "subscriber": {"clients"}}
			err := subscribe(ctx, service, topic, query, func(r drc.Record) bool {
				if r.Type != drc.Row && r.Type != drc.DDL {
					return true
				}
				time.Sleep(handlerTime)
				handled.Add(1)
				return ctx.Err() == nil
			})
			if ctx.Err() == nil {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return float64(handled.Load()) / clientsTime.Seconds(), errors.Join(errs...)
}
