package show

import (
	"fmt"
	"io"
	"os"
	"time"
)

// An Output tells the user what the demo is doing. On a terminal, progress is one line that is written again and again;
// in a file or a pipe it is a whole line now and then. Errors of the writer are ignored. An Output is not safe for
// concurrent use.
type Output struct {
	w        io.Writer
	terminal bool
	pending  string    // progress whose line is not complete yet
	written  time.Time // when the last line of progress was written to a file or pipe
	block    int       // lines of the last Block that nothing was written behind
	blocked  time.Time // when the last Block was written to a file or pipe
}

// NewOutput returns an Output that writes to w.
func NewOutput(w io.Writer) *Output {
	o := &Output{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		o.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return o
}

// Line writes one line.
func (o *Output) Line(format string, args ...any) {
	o.flush()
	o.block = 0
	_, _ = fmt.Fprintf(o.w, format+"\n", args...)
	o.written = time.Now()
}

// Block shows how far several things are, a line for each. On a terminal it overwrites the Block before; in a file or a pipe it is
// written once in 3 seconds.
func (o *Output) Block(lines []string) {
	if len(lines) == 0 || !o.terminal && time.Since(o.blocked) < 3*time.Second {
		return
	}
	o.flush()
	if o.terminal && o.block > 0 {
		_, _ = fmt.Fprintf(o.w, "\x1b[%dA\x1b[J", o.block)
	}
	for _, l := range lines {
		_, _ = fmt.Fprintf(o.w, "  %s\n", l)
	}
	o.block, o.blocked = len(lines), time.Now()
}

// Progress shows how far something is. Outside a terminal it writes a line a second at most; the next Line is preceded by
// the progress that was not written.
func (o *Output) Progress(format string, args ...any) {
	o.pending = fmt.Sprintf("  "+format, args...)
	switch {
	case o.terminal:
		_, _ = fmt.Fprintf(o.w, "\r%s", o.pending)
	case time.Since(o.written) >= time.Second:
		o.flush()
	}
}

// flush completes the line of the last progress.
func (o *Output) flush() {
	if o.pending == "" {
		return
	}
	text := o.pending
	if o.terminal {
		text = "" // it is there already
	}
	_, _ = fmt.Fprintln(o.w, text)
	o.pending, o.written = "", time.Now()
}
