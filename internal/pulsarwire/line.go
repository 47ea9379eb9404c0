package pulsarwire

import "sync"

// Receives is the format of the line, at level debug, that the library writes for each command of a broker before it looks
// at it. Its arguments are the command and, for a message, the frame.
const Receives = "Received command: %s -- payload: %v"

// frame is the library's buffer with a message.
type frame interface {
	ReadableSlice() []byte
	Clear()
	Resize(size uint32)
	Write(b []byte)
}

var annotators sync.Pool //nolint:gochecknoglobals // memory to reuse

// keptSize bounds the memory of an Annotator that is kept for another frame.
const keptSize = 1 << 20

// Line adds notes to the frame in a line of the library's log, see [Annotator], if it is about a message. It must be called
// before the library looks at the frame, on its own goroutine.
func Line(format string, args []any) {
	if format != Receives || len(args) != 2 {
		return
	}
	f, ok := args[1].(frame)
	if !ok {
		return // the command has no message
	}
	a, ok := annotators.Get().(*Annotator)
	if !ok {
		a = new(Annotator)
	}
	if head, tail, ok := a.Annotate(f.ReadableSlice()); ok && head != nil {
		f.Clear()
		f.Resize(uint32(len(head) + len(tail))) //nolint:gosec // a frame is smaller
		f.Write(head)
		f.Write(tail) // may be a part of the buffer before it was resized
	}
	if cap(a.head)+cap(a.plain) <= keptSize {
		annotators.Put(a)
	}
}
