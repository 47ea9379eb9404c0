package lines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

// Config configures a [Sink]. The zero value is the default.
type Config struct {
	// DisableSync disables the call of Sync on an io.Writer that has this method, such as os.File. Lines then survive a crash of
	// the process, but not a power failure. Default: false.
	DisableSync bool
}

// Sink writes lines to one io.Writer. It is safe for concurrent use; its writers are not. It starts no goroutines.
type Sink struct {
	out  io.Writer
	cfg  Config
	turn chan struct{} // holds a token while no Write runs; waiting for a mutex could not end with a ctx

	// Guarded by the token.
	torn []byte // the unwritten rest of a partly written line

	open   atomic.Int32 // number of open writers
	closed atomic.Bool
}

var _ sink.Sink = (*Sink)(nil)

// New returns a sink that writes to out. Nothing else may write to out until the sink is closed. The sink never closes out.
//
// In every Write the sink calls the methods Flush() error and Sync() error of out, if out has them. A bufio.Writer has Flush,
// an os.File has Sync. A Sync that fails because out is a terminal or a pipe is ignored.
func New(out io.Writer, cfg Config) (*Sink, error) {
	if out == nil {
		return nil, errors.New("lines: the io.Writer is nil")
	}
	s := &Sink{out: out, cfg: cfg, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s, nil
}

// Open returns a writer.
func (s *Sink) Open() (sink.Writer, error) {
	if s.closed.Load() {
		return nil, errors.New("lines: Open on a closed sink")
	}
	s.open.Add(1)
	return &writer{sink: s}, nil
}

// Close closes the sink, but not the io.Writer. It fails while a writer is open. If an error has left a line incomplete, Close
// writes the rest; it returns an error if that fails.
func (s *Sink) Close() error {
	if n := s.open.Load(); n > 0 {
		return fmt.Errorf("lines: close: %d writers are open: close them first", n)
	}
	if s.closed.Swap(true) {
		return errors.New("lines: close: the sink is already closed")
	}
	if len(s.torn) == 0 {
		return nil
	}
	_, err := s.write(nil)
	if err = errors.Join(err, s.flush()); err != nil {
		return fmt.Errorf("lines: close: up to %d bytes of the last line are missing: %w", len(s.torn), err)
	}
	return nil
}

type writer struct {
	sink   *Sink
	buf    bytes.Buffer
	ends   []int // end of the line of each message in buf; 0 if it has no line
	closed bool
}

// Write implements [sink.Writer]. While it waits for other writers of the sink, it returns when ctx ends. A call of the
// io.Writer cannot be interrupted.
func (w *writer) Write(ctx context.Context, ms []keystrand.Message) error {
	if w.closed {
		return errors.New("lines: Write on a closed writer")
	}
	if ctx.Err() != nil {
		return fmt.Errorf("lines: %d messages not written: %w", len(ms), context.Cause(ctx))
	}
	res := w.encode(ms)
	if w.buf.Len() == 0 {
		return res.Err()
	}
	select {
	case <-w.sink.turn:
		defer func() { w.sink.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("lines: %d messages not written: %w", len(ms), context.Cause(ctx))
	}
	n, err := w.sink.write(w.buf.Bytes())
	if ferr := w.sink.flush(); ferr != nil {
		return fmt.Errorf("lines: flush: none of %d messages is known to be durable: %w", len(ms), errors.Join(ferr, err))
	}
	if err == nil {
		return res.Err()
	}
	err = fmt.Errorf("lines: %w", err)
	for i, end := range w.ends {
		if end > n && !res.Failed(i) {
			res.Fail(i, err)
		}
	}
	return res.Err()
}

// Close closes the writer.
func (w *writer) Close() error {
	if w.closed {
		return errors.New("lines: close: the writer is already closed")
	}
	w.closed = true
	w.sink.open.Add(-1)
	return nil
}

// encode encodes the messages to w.buf. It runs before Write waits for the other writers of the sink.
func (w *writer) encode(ms []keystrand.Message) sink.Result {
	const keep = 1 << 20
	if w.buf.Cap() > keep { // frees the memory of a large Write
		w.buf = bytes.Buffer{}
	}
	w.buf.Reset()
	w.ends = w.ends[:0]
	res := sink.NewResult(ms)
	for i := range ms {
		end := 0
		if !res.Behind(i) {
			if err := appendLine(&w.buf, &ms[i]); err != nil {
				m := &ms[i]
				res.Fail(i, keystrand.Permanent(fmt.Errorf("lines: %s/%d@%d: %w", m.Stream, m.Partition, m.Offset, err)))
			} else {
				end = w.buf.Len()
			}
		}
		w.ends = append(w.ends, end)
	}
	return res
}

// write writes b and returns the number of bytes written. If it stops inside a line, it keeps the rest of the line for the
// next call. So every line is completed, and its message, which the caller writes again, is in the output twice.
func (s *Sink) write(b []byte) (int, error) {
	if len(s.torn) > 0 {
		n, err := writeAll(s.out, s.torn)
		s.torn = s.torn[n:]
		if err != nil {
			return 0, err
		}
	}
	if len(b) == 0 {
		return 0, nil
	}
	n, err := writeAll(s.out, b)
	if err != nil && n > 0 && b[n-1] != '\n' {
		end := n + bytes.IndexByte(b[n:], '\n') + 1
		s.torn = bytes.Clone(b[n:end])
	}
	return n, err
}

func writeAll(out io.Writer, b []byte) (int, error) {
	n, err := out.Write(b)
	if n < 0 || n > len(b) {
		return 0, fmt.Errorf("the io.Writer returned an invalid count: %d of %d bytes", n, len(b))
	}
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}

func (s *Sink) flush() error {
	if f, ok := s.out.(interface{ Flush() error }); ok {
		if err := f.Flush(); err != nil {
			return err
		}
	}
	if f, ok := s.out.(interface{ Sync() error }); ok && !s.cfg.DisableSync {
		err := f.Sync()
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
			return nil // a terminal or a pipe cannot be synced
		}
		return err
	}
	return nil
}
