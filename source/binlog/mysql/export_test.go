package mysql

import (
	"context"
	"maps"
	"slices"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// Log is the log of a server, with its connection for questions.
type Log interface {
	demux.Log
	Close() error
	Filter() binlog.Filter
}

func (l *log) Filter() binlog.Filter { return l.filter }

// NewLog returns the log of a server.
func NewLog(addr string, filter binlog.Filter, cfg Config) (Log, error) {
	cfg = cfg.withDefaults(addr)
	if err := cfg.validate(addr); err != nil {
		return nil, err
	}
	return newLog(addr, filter, cfg)
}

// Charsets returns the names of the character sets that are decoded.
func Charsets() []string { return slices.Sorted(maps.Keys(charsets)) }

// Decode returns a text of a character set in UTF-8.
func Decode(charset, text string) (string, error) {
	decode, err := decoderOf(charset)
	if err != nil {
		return "", err
	}
	return decode(text)
}

// Detach copies the values of an image that are parts of an event.
func Detach(image []any) { detach(image) }

// SessionOf returns what status variables of a statement tell.
func SessionOf(status []byte) (noBackslashEscapes bool, collation uint64) {
	s := sessionOf(status)
	return s.mode.NoBackslashEscapes, s.collation
}

// IsReplica reports whether a server replicates another one.
func IsReplica(ctx context.Context, addr string, cfg Config) (bool, error) {
	s, err := newServer(addr, cfg.withDefaults(addr))
	if err != nil {
		return false, err
	}
	defer s.close() //nolint:errcheck // it was only asked
	f, err := s.facts(ctx)
	if err != nil {
		return false, err
	}
	return s.isReplica(ctx, f)
}
