package demux

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// Config has the settings of a [Source].
type Config struct {
	// Package is the package of the source. It starts every error and log line. Required.
	Package string
	// Name is put in front of the names of streams, as "Name/database.table", where several servers are read. Default: none.
	Name string
	// Store keeps the progress of all tables, and a list of them. Required.
	Store commit.Store

	// TableBytes bounds the rows of one table that wait for Fetch. Default: 8 MiB.
	TableBytes int
	// QueueBytes bounds the rows of all tables that wait for Fetch. Default: 64 MiB.
	QueueBytes int
	// CatchUp is the maximum number of tables that are read apart from the others at once. Default: 4.
	CatchUp int
	// IdleInterval and IdleBytes are how far a table without rows may stay behind the reader: so much time, or so many bytes of
	// log. Default: 10 s, 64 MiB.
	IdleInterval time.Duration
	IdleBytes    int
	// HandOutUnreadable hands a statement whose text cannot be read to every table, and goes on. Default: false, every table
	// stops at it with an error.
	HandOutUnreadable bool
	// Logger gets the log. Default: none.
	Logger *slog.Logger

	// far is the count of rows and transaction ends by which a table must be behind most others at the start to be read apart.
	far int64
	// patience is how long the shared reader waits for room of tables while others wait for rows.
	patience time.Duration
}

func (c Config) withDefaults() Config {
	c.TableBytes = cmp.Or(c.TableBytes, 8<<20)
	c.QueueBytes = cmp.Or(c.QueueBytes, 64<<20)
	c.CatchUp = cmp.Or(c.CatchUp, 4)
	c.IdleInterval = cmp.Or(c.IdleInterval, 10*time.Second)
	c.IdleBytes = cmp.Or(c.IdleBytes, 64<<20)
	c.patience = cmp.Or(c.patience, patience)
	c.far = cmp.Or(c.far, 500_000) // well below a second of reading
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate returns all errors of a Config.
func (c Config) validate() error {
	var errs []error
	if c.Package == "" {
		errs = append(errs, errors.New("demux: Package is empty"))
	}
	if c.Store == nil {
		errs = append(errs, fmt.Errorf("%s: Store is nil: the log keeps no progress, so a store has to", c.Package))
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"TableBytes", int64(c.TableBytes)},
		{"QueueBytes", int64(c.QueueBytes)},
		{"CatchUp", int64(c.CatchUp)},
		{"IdleInterval", int64(c.IdleInterval)},
		{"IdleBytes", int64(c.IdleBytes)},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("%s: %s is negative: %d", c.Package, n.name, n.value))
		}
	}
	return errors.Join(errs...)
}
