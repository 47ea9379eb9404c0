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

// Config has what New does not require. The zero value is the default.
type Config struct {
	// DisableSync leaves out the call of Sync of a writer that has it (an os.File has): lines are then durable for the
	// process, not for a power failure. Default: false.
	DisableSync bool
}

// Sink writes lines to one io.Writer. It is safe for concurrent use; its writers are not. It starts no goroutines.
type Sink struct {
	out  io.Writer
	cfg  Config
	turn chan struct{} // holds a token while nobody writes; a mutex could not be given up when a ctx ends

	// Guarded by the token.
	torn []byte // the rest of a line of which out has taken only the beginning

	open   atomic.Int32 // writers
	closed atomic.Bool
}

var _ sink.Sink = (*Sink)(nil)

// New returns a sink that writes to out and never closes it. If out has Flush() error, as a bufio.Writer, it is called
// for every Write; if it has Sync() error, as an os.File, that too, unless out is a terminal or a pipe and says so.
// Nobody else may write to out meanwhile.
func New(out io.Writer, cfg Config) (*Sink, error) {
	if out == nil {
		return nil, errors.New("lines: no writer")
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

// Close ends the sink. The io.Writer stays open. It fails while a writer is open. A line that an error has torn is
// completed; if that fails again, Close says so.
func (s *Sink) Close() error {
	if n := s.open.Load(); n > 0 {
		return fmt.Errorf("lines: sink closed before its writers: %d are open", n)
	}
	if s.closed.Swap(true) {
		return errors.New("lines: sink closed twice")
	}
	if len(s.torn) == 0 {
		return nil
	}
	_, err := s.write(nil)
	if err = errors.Join(err, s.flush()); err != nil {
		return fmt.Errorf("lines: the last line may lack its last %d bytes: %w", len(s.torn), err)
	}
	return nil
}

type writer struct {
	sink   *Sink
	buf    bytes.Buffer
	ends   []int // where the line of a message ends in buf; 0 if it has none
	closed bool
}

// Write makes the messages durable, see [sink.Writer]. It waits for other writers of the sink until ctx ends; the
// io.Writer itself cannot be interrupted.
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
		return fmt.Errorf("lines: nothing of %d messages is known to be durable: %w", len(ms), errors.Join(ferr, err))
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

// Close gives up the writer.
func (w *writer) Close() error {
	if w.closed {
		return errors.New("lines: writer closed twice")
	}
	w.closed = true
	w.sink.open.Add(-1)
	return nil
}

// encode makes the lines before anybody has to wait for them.
func (w *writer) encode(ms []keystrand.Message) sink.Result {
	const keep = 1 << 20
	if w.buf.Cap() > keep { // one huge Write must not hold its memory for ever
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

// write returns how many bytes of b were taken. If that is in the middle of a line, the rest of the line is kept and
// goes first the next time: so every line is whole in the end, and its message, which is written again, stands there twice.
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
		return 0, fmt.Errorf("the writer says it took %d of %d bytes", n, len(b))
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
			return nil // a terminal, a pipe: there is nothing to sync
		}
		return err
	}
	return nil
}
