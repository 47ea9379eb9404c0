package show

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOutputWritesProgressAsALineASecondOutsideATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		o := NewOutput(&b)
		o.Line("begin")
		for i := range 25 {
			time.Sleep(100 * time.Millisecond)
			o.Progress("%d of 25", i+1)
		}
		o.Line("end")
		if got, want := b.String(), "begin\n  10 of 25\n  20 of 25\n  25 of 25\nend\n"; got != want {
			t.Errorf("output = %q, want %q", got, want)
		}
	})
}

func TestOutputRewritesOneLineOfProgressOnATerminal(t *testing.T) {
	var b strings.Builder
	o := NewOutput(&b)
	o.terminal = true
	o.Line("begin")
	o.Progress("1 of 2")
	o.Progress("2 of 2")
	o.Line("end")
	if got, want := b.String(), "begin\n\r  1 of 2\r  2 of 2\nend\n"; got != want {
		t.Errorf("output = %q, want %q", got, want)
	}
}

func TestOutputRewritesABlockOnATerminalUntilALineComes(t *testing.T) {
	var b strings.Builder
	o := NewOutput(&b)
	o.terminal = true
	o.Block(nil)
	o.Block([]string{"a 1", "b 1"})
	o.Block([]string{"a 2", "b 2"})
	o.Line("killed")
	o.Block([]string{"a 3"})
	if got, want := b.String(), "  a 1\n  b 1\n\x1b[2A\x1b[J  a 2\n  b 2\nkilled\n  a 3\n"; got != want {
		t.Errorf("output = %q, want %q", got, want)
	}
}

func TestOutputWritesABlockNowAndThenOutsideATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		o := NewOutput(&b)
		for i := range 7 {
			o.Block([]string{strings.Repeat("x", i)})
			time.Sleep(time.Second)
		}
		if got, want := b.String(), "  \n  xxx\n  xxxxxx\n"; got != want {
			t.Errorf("output = %q, want %q", got, want)
		}
	})
}

func TestOutputTakesAFileForNoTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if NewOutput(f).terminal {
		t.Error("a file counts as a terminal")
	}
}
