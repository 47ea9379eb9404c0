package mysql

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// New returns a source that reads the binary log of a server. It makes no connection before the first Accept. addr is host:port,
// or the path of a socket. tables are the wanted tables as "database.table", with the patterns of [binlog.Filter]; none means all
// but the server's own. store keeps the progress of each table, by its stream and partition 0, and a list of the tables as a
// stream of its own. New returns all errors of the configuration at once.
//
// The source is also a source.Describer and a source.Keyer: messages whose rows share the value of a primary or unique key stay in order. Its partitions
// do not move: the first source of several with one store is fenced out by the second.
//
// Accept's errors are final: settings that the server lacks, each with the statement that sets it, refused credentials, and so on.
func New(addr string, tables []string, store commit.Store, cfg Config) (source.Source, error) {
	cfg = cfg.withDefaults(addr)
	filter := binlog.Filter{Tables: tables, Except: cfg.Except}
	err := cfg.validate(addr)
	if e := filter.Check(); e != nil {
		err = errors.Join(err, fmt.Errorf("mysql: %w", e))
	}
	if store == nil {
		err = errors.Join(err, errors.New("mysql: store is nil: progress would be lost"))
	}
	if err != nil {
		return nil, err
	}
	l, err := newLog(addr, filter, cfg)
	if err != nil {
		return nil, err
	}
	s, err := demux.New(l, demux.Config{
		Package:           "mysql",
		Name:              cfg.Name,
		Store:             store,
		TableBytes:        cfg.TableBytes,
		QueueBytes:        cfg.QueueBytes,
		CatchUp:           cfg.CatchUp,
		HandOutUnreadable: cfg.HandOutUnreadable,
		Logger:            cfg.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &closer{s, l}, nil
}

// closer is a source that closes its log.
type closer struct {
	*demux.Source
	log *log
}

// Describe implements [source.Describer]. A server knows no groups.
func (c *closer) Describe() source.Description {
	return source.Description{System: "mysql", Servers: []string{c.log.addr}}
}

// Close implements [source.Source].
func (c *closer) Close() error { return errors.Join(c.Source.Close(), c.log.Close()) }
