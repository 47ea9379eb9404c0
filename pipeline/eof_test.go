package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

// endError is an error that says that it is io.EOF.
type endError struct{}

func (endError) Error() string        { return "end of connection" }
func (endError) Is(target error) bool { return target == io.EOF }

// ends is a source whose Accept or Fetch returns an error.
type ends struct {
	source.Source
	accept, fetch error // nil: as the inner source
	accepted      bool
}

func (s *ends) Accept(ctx context.Context) (source.Partition, error) {
	if s.accept != nil && s.accepted {
		return nil, s.accept
	}
	s.accepted = true
	p, err := s.Source.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return endsPartition{p, s}, nil
}

type endsPartition struct {
	source.Partition
	s *ends
}

func (p endsPartition) Fetch(ctx context.Context, b *source.Batch) error {
	if p.s.fetch != nil {
		return p.s.fetch
	}
	return p.Partition.Fetch(ctx, b)
}

// Only the bare io.EOF is the end of a source or a partition. An error that wraps it, such as that of a broker that closes
// the connection of a client without SASL, is a failure, which Run returns.
func TestErrorThatWrapsEOFIsAFailure(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		end  bool
	}{
		{"bare", io.EOF, true},
		{"wrapped", fmt.Errorf("sasl handshake: %w", io.EOF), false},
		{"wrapped twice", fmt.Errorf("kafka: broker b:9092: %w", fmt.Errorf("read: %w", io.EOF)), false},
		{"joined", errors.Join(io.EOF), false},
		{"joined with another", errors.Join(errBoom, io.EOF), false},
		{"of a connection", &net.OpError{Op: "read", Net: "tcp", Err: io.EOF}, false},
		{"by its method Is", endError{}, false},
		{"unexpected", io.ErrUnexpectedEOF, false},
		{"marked as permanent", keystrand.Permanent(io.EOF), false},
	} {
		for _, of := range []string{"Accept", "Fetch"} {
			t.Run(of+" "+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := memory.NewLog("posts", 1)
					log.Append(0, keysOf(10, 3)...)
					log.Close()
					src := &ends{Source: memory.NewSource(memory.Config{}, log), accept: io.EOF}
					if of == "Accept" {
						src.accept = c.err
					} else {
						src.fetch = c.err
					}
					err := start(t, pipeline.From(watch(t, src, nil)).Handle(keystrand.HandlerFunc(nothing))).wait()
					if c.end && err != nil || !c.end && !errors.Is(err, c.err) {
						t.Errorf("Run = %v; the error of %s was %v", err, of, c.err)
					}
				})
			})
		}
	}
}
