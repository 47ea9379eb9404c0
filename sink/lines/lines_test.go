package lines_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
	"github.com/keystrand/keystrand/sink/lines"
	"github.com/keystrand/keystrand/sink/sinktest"
)

var errFull = errors.New("disk is full")

// disk is an in-memory file. One Write fails once room bytes are written; later Writes succeed.
type disk struct {
	mu    sync.Mutex
	data  bytes.Buffer
	room  int  // -1: no limit
	short bool // a full disk returns a short count without an error
	syncs int
	flush error
}

func (d *disk) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(b)
	if d.room >= 0 {
		n = min(n, d.room)
		d.room -= n
	}
	d.data.Write(b[:n])
	if n < len(b) {
		d.room = -1 // there is room again
		if !d.short {
			return n, errFull
		}
	}
	return n, nil
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	return d.flush
}

func (d *disk) messages() ([]keystrand.Message, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ms []keystrand.Message
	for l := range strings.Lines(d.data.String()) {
		if !strings.HasSuffix(l, "\n") {
			break // incomplete
		}
		m, err := lines.Decode([]byte(l))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", l, err)
		}
		ms = append(ms, m)
	}
	return ms, nil
}

func TestSinkKeepsTheContract(t *testing.T) {
	for _, c := range sinktest.Cases() {
		if c.Name == "TooLargeIsPermanentAndAlone" {
			continue // the sink has no limit
		}
		t.Run(c.Name, func(t *testing.T) {
			for room := 0; room < 700; room += 3 { // every second disk is short
				if room > 0 && !strings.HasPrefix(c.Name, "Durable") && !strings.HasPrefix(c.Name, "Writing") {
					break
				}
				synctest.Test(t, func(t *testing.T) {
					d := &disk{room: -1, short: room%2 == 0}
					s, err := lines.New(d, lines.Config{})
					if err != nil {
						t.Fatal(err)
					}
					c.Test(t, &sinktest.Env{
						Sink:   s,
						Stored: func(context.Context) ([]keystrand.Message, error) { return d.messages() },
						Trouble: func() {
							d.mu.Lock()
							defer d.mu.Unlock()
							d.room = room
						},
					})
				})
				if t.Failed() {
					t.Fatalf("failed on a disk with room for %d bytes", room)
				}
			}
		})
	}
}

func open(t *testing.T, d *disk, cfg lines.Config) (*lines.Sink, sink.Writer) {
	t.Helper()
	s, err := lines.New(d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

func TestWriteCompletesAnIncompleteLineFirst(t *testing.T) {
	d := &disk{room: 80}
	s, w := open(t, d, lines.Config{})
	ms := []keystrand.Message{{Stream: "s", Key: []byte("a"), Value: []byte("1")}, {Stream: "s", Key: []byte("b"), Value: []byte("2")}}
	p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
	if !ok || p.Errs[0] != nil || !errors.Is(p.Errs[1], errFull) {
		t.Fatalf("Write = %v", p)
	}
	if strings.HasSuffix(d.data.String(), "\n") {
		t.Fatalf("the last line is complete: %q", d.data.String())
	}
	if err := w.Write(t.Context(), ms[1:]); err != nil {
		t.Fatal(err)
	}
	got, err := d.messages()
	if err != nil || len(got) != 3 || string(got[1].Value) != "2" || string(got[2].Value) != "2" {
		t.Errorf("stored %+v, %v; want 1, 2 and 2 again", got, err)
	}
	if err := errors.Join(w.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestCloseFailsIfTheLastLineStaysIncomplete(t *testing.T) {
	d := &disk{room: 10}
	s, w := open(t, d, lines.Config{})
	if err := w.Write(t.Context(), []keystrand.Message{{Stream: "s"}}); !errors.Is(err, errFull) {
		t.Errorf("Write = %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	d.room = 3
	if err := s.Close(); !errors.Is(err, errFull) {
		t.Errorf("Close = %v, want %v", err, errFull)
	}
}

func TestNoMessageIsDurableIfSyncFails(t *testing.T) {
	d := &disk{room: -1, flush: errors.New("I/O error")}
	_, w := open(t, d, lines.Config{})
	err := w.Write(t.Context(), []keystrand.Message{{Stream: "s"}})
	if _, partial := errors.AsType[*sink.PartialError](err); err == nil || partial || !errors.Is(err, d.flush) {
		t.Errorf("Write = %v", err)
	}
	_, w = open(t, d, lines.Config{DisableSync: true})
	if err := w.Write(t.Context(), []keystrand.Message{{Stream: "s"}}); err != nil || d.syncs != 1 {
		t.Errorf("Write without sync = %v after %d syncs", err, d.syncs)
	}
}

func TestWriteFlushesABufferedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := lines.New(bufio.NewWriter(f), lines.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), []keystrand.Message{{Stream: "s", Value: []byte("<&>")}}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := `{"stream":"s","partition":0,"offset":0,"value":"<&>"}` + "\n"; err != nil || string(got) != want {
		t.Errorf("file has %q, %v; want %q", got, err, want)
	}
}

func TestMessageThatCannotBeEncodedFailsPermanentlyAndAlone(t *testing.T) {
	d := &disk{room: -1}
	_, w := open(t, d, lines.Config{})
	ms := []keystrand.Message{
		{Stream: "s", Key: []byte("a"), Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Stream: "s", Key: []byte("a")},
		{Stream: "s", Key: []byte("b")},
		{Stream: "\xff"},
	}
	p, ok := errors.AsType[*sink.PartialError](w.Write(t.Context(), ms))
	if !ok || p.Errs[2] != nil || !errors.Is(p.Errs[1], sink.ErrBehind) {
		t.Fatalf("Write = %v", p)
	}
	for _, i := range []int{0, 3} {
		if o, _ := keystrand.OutcomeOf(p.Errs[i]); o != keystrand.OutcomePermanent {
			t.Errorf("message %d: %v, want a permanent error", i, p.Errs[i])
		}
	}
}

func FuzzDecodeNeverPanicsAndReadsBackAWrittenLine(f *testing.F) {
	f.Add([]byte(`{"stream":"s","partition":1,"offset":2,"key":"k","value_base64":"AP8="}`), []byte("v"))
	f.Add([]byte("{}{}"), []byte{0xff})
	f.Fuzz(func(t *testing.T, line, value []byte) {
		_, _ = lines.Decode(line)
		d := &disk{room: -1}
		_, w := open(t, d, lines.Config{})
		m := keystrand.Message{Stream: "s", Partition: -1, Offset: 1 << 62, Key: value, Value: value}
		if err := w.Write(t.Context(), []keystrand.Message{m}); err != nil {
			t.Fatal(err)
		}
		got, err := lines.Decode(d.data.Bytes())
		if err != nil || !bytes.Equal(got.Key, value) || (got.Value == nil) != (value == nil) || got.Offset != m.Offset {
			t.Errorf("read back %+v, %v", got, err)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	s, err := lines.New(discard{}, lines.Config{})
	if err != nil {
		b.Fatal(err)
	}
	w, err := s.Open()
	if err != nil {
		b.Fatal(err)
	}
	ms := make([]keystrand.Message, 100)
	for i := range ms {
		ms[i] = keystrand.Message{Stream: "s", Key: []byte("key"), Value: bytes.Repeat([]byte("v"), 100), Time: time.Unix(1e9, 0)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Write(b.Context(), ms); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ms)), "ns/msg")
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
