package drc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// lines is a stream of the service. It is used by one goroutine.
type lines struct {
	log     *log
	ctx     context.Context //nolint:containedctx // of the request
	cancel  context.CancelCauseFunc
	body    io.ReadCloser
	silent  *time.Timer // cancels the request; runs while Read waits
	decoder *json.Decoder
}

// received is a record as it is read. Columns and keys are compared as text: they rarely change.
type received struct {
	Record
	Columns json.RawMessage `json:"columns"`
	Keys    json.RawMessage `json:"keys"`
}

// next returns the next record. It blocks until there is one, or nothing has come for the timeout.
func (s *lines) next() (received, error) {
	var l received
	err := s.decoder.Decode(&l)
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, form := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case s.ctx.Err() != nil:
		return l, context.Cause(s.ctx)
	case syntax || form:
		return l, fmt.Errorf("topic %s: %w: byte %d of the stream: %w", s.log.topic, errMalformed, s.decoder.InputOffset(), err)
	case err != nil:
		return l, fmt.Errorf("topic %s: the stream was cut: %w", s.log.topic, err)
	case l.Type == Failure && l.Error != nil:
		return l, s.log.explain(l.Error)
	}
	return l, nil
}

// Read reads the body for the decoder.
func (s *lines) Read(p []byte) (int, error) {
	s.silent.Reset(s.log.cfg.Timeout)
	defer s.silent.Stop()
	return s.body.Read(p)
}

// close ends the stream. It may be called while next blocks, which then returns.
func (s *lines) close() {
	s.cancel(errEnded)
	_ = s.body.Close() // it was only read
}
