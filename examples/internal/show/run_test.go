package show

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// comments is how many a demo has. The last of them are handled less than a second after a line of progress.
const comments = 1_050

// fakeBroker stores comment n of one post at offset n of partition 0. Everything is committed at once.
type fakeBroker struct {
	started, closed bool
	startErr        error
}

func (b *fakeBroker) Start(context.Context, *Output) error {
	b.started = true
	return b.startErr
}

func (b *fakeBroker) Fill(_ context.Context, _ string, messages int) (int, error) {
	return messages, nil
}

func (b *fakeBroker) Committed(context.Context, string, string) (func(Comment) bool, error) {
	return func(Comment) bool { return true }, nil
}

func (b *fakeBroker) Flags() []string { return []string{"-at", "here"} }
func (b *fakeBroker) Freed() string   { return "soon" }
func (b *fakeBroker) Close() error    { b.closed = true; return nil }

// fakeProcess handles the comments that it is given, one every 10 ms.
type fakeProcess struct {
	cancel context.CancelFunc
	gone   chan struct{}
	err    error
}

func (p *fakeProcess) Ended() <-chan struct{} { return p.gone }
func (p *fakeProcess) Kill()                  { p.cancel(); <-p.gone }
func (p *fakeProcess) Stop() error            { p.Kill(); return p.err }

// fakeProcesses starts processes that handle one comment after the other. A new one with the same flags goes on where the
// one before was killed.
type fakeProcesses struct {
	dies    bool                                 // processes end by themselves at once
	handles func(n int, heard func(line string)) // reports comment n; nil: in the right way
	next    map[string]int
	flags   []string // of the process that was started last
}

func (f *fakeProcesses) start(flags []string, heard func(line string)) (Process, error) {
	if f.next == nil {
		f.next = map[string]int{}
	}
	f.flags = flags
	key := strings.Join(flags, " ")
	ctx, cancel := context.WithCancel(context.Background())
	p := &fakeProcess{cancel: cancel, gone: make(chan struct{})}
	go func() {
		defer close(p.gone)
		if f.dies {
			p.err = errors.New("exit status 1")
			return
		}
		for range comments - f.next[key] {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return
			}
			f.next[key]++
			if f.handles != nil {
				f.handles(f.next[key], heard)
			} else {
				handle(f.next[key], heard)
			}
		}
		<-ctx.Done()
	}()
	return p, nil
}

func handle(n int, heard func(line string)) {
	heard(fmt.Sprintf("b post-1 %d 0 %d", n, n))
	heard(fmt.Sprintf("e post-1 %d 0 %d", n, n))
}

// runWith runs a demo.
func runWith(t *testing.T, f *fakeProcesses) (table, string, *fakeBroker, error) {
	t.Helper()
	var out strings.Builder
	b := &fakeBroker{}
	r := run{messages: comments, broker: b, out: NewOutput(&out), start: f.start}
	result, err := r.all()
	return result, out.String(), b, err
}

func TestRunComparesBothReadersAndKillsTheSecondHalfway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeProcesses{}
		got, out, b, err := runWith(t, f)
		if err != nil {
			t.Fatalf("run: %v\n%s", err, out)
		}
		if got.Broken() != nil {
			t.Errorf("result = %+v, want nothing broken", got)
		}
		if got.Committed < 525 || got.Committed == comments || got.Outage != 0.01 || got.Baseline < 99 || got.Keystrand < 99 {
			t.Errorf("result = %+v, want a kill after 525 messages, an outage of 0.01 s, 100 messages/s twice", got)
		}
		if !b.closed {
			t.Error("the broker is not closed")
		}
		if !strings.Contains(out, "1050 of 1050 handled\n") || strings.Contains(out, "\r") {
			t.Errorf("output lacks the final progress, or has carriage returns:\n%q", out)
		}
		if len(f.flags) != 4 || !slices.Equal(f.flags[:3], []string{"-at", "here", "-member"}) || !strings.HasSuffix(f.flags[3], "/key") {
			t.Errorf("flags of the last process = %q, want those of the broker and of a member", f.flags)
		}
	})
}

func TestRunReportsABrokenPromise(t *testing.T) {
	tests := []struct {
		name    string
		handles func(n int, heard func(line string))
		want    func(table) bool
	}{
		{"a message is lost", func(n int, heard func(line string)) {
			if n != 800 {
				handle(n, heard)
			}
		}, func(t table) bool { return t.Lost == 1 }},
		{"two messages are swapped", func(n int, heard func(line string)) {
			switch n {
			case 800:
				handle(801, heard)
			case 801:
				handle(800, heard)
			default:
				handle(n, heard)
			}
		}, func(t table) bool { return t.Violations > 0 && t.Lost == 0 }},
		{"two messages overlap", func(n int, heard func(line string)) {
			if n == 800 {
				heard("b post-1 800 0 800")
				heard("b post-1 800 0 800")
			}
			handle(n, heard)
		}, func(t table) bool { return t.Overlaps > 0 && t.Lost == 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, out, _, err := runWith(t, &fakeProcesses{handles: tt.handles})
				if err != nil {
					t.Fatalf("run: %v\n%s", err, out)
				}
				if !tt.want(got) || got.Broken() == nil {
					t.Errorf("result = %+v, broken = %v", got, got.Broken())
				}
			})
		})
	}
}

func TestRunEndsWithAnErrorWhenAProcessEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, b, err := runWith(t, &fakeProcesses{dies: true})
		if err == nil || !strings.Contains(err.Error(), "exit status 1") {
			t.Errorf("run = %v, want the exit status of the process", err)
		}
		if !b.closed {
			t.Error("the broker is not closed")
		}
	})
}

func TestRunEndsWithAnErrorWhenNothingIsEverHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, _, _, err := runWith(t, &fakeProcesses{handles: func(int, func(string)) {}})
		if !errors.Is(err, errQuiet) || time.Since(began) != quietTimeout {
			t.Errorf("run = %v after %v, want %v after %v", err, time.Since(began), errQuiet, quietTimeout)
		}
	})
}

func TestMainRefusesFlagsThatCannotWorkBeforeItStartsAnything(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{"-messages", "0"}, "use a number from 1000 to 1000000"},
		{[]string{"-messages", "-5"}, "use a number from 1000 to 1000000"},
		{[]string{"-messages", "999"}, "use a number from 1000 to 1000000"},
		{[]string{"-messages", "1000001"}, "use a number from 1000 to 1000000"},
		{[]string{"-messages", "many"}, "invalid value"},
		{[]string{"-wrong"}, "not defined: -wrong"},
		{[]string{"localhost:9092"}, `unexpected argument "localhost:9092"`},
		{[]string{"-json", "false"}, `unexpected argument "false"`},
		{[]string{"-member", "topic"}, "use TOPIC/GROUP/partition"},
		{[]string{"-member", "/group/key"}, "use TOPIC/GROUP/partition"},
		{[]string{"-member", "topic/group/other"}, "use partition or key"},
		{[]string{"-at", "nowhere"}, "bad address"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			b := &fakeBroker{startErr: errors.New("was started")}
			err := mainWith(b, tt.args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
			if b.started {
				t.Error("the broker was started")
			}
		})
	}
}

func TestMainStartsTheBrokerWhenAllFlagsAreRight(t *testing.T) {
	b := &fakeBroker{startErr: errors.New("was started")}
	if err := mainWith(b, []string{"-messages", "1000"}, io.Discard); !errors.Is(err, b.startErr) {
		t.Errorf("error = %v, want that of Start", err)
	}
}

// mainWith runs main with arguments; members end with an error.
func mainWith(b *fakeBroker, args []string, stdout io.Writer) error {
	return mainOn(b, nil, args, stdout)
}

// mainOn is mainWith with processes of the test.
func mainOn(b *fakeBroker, start Starter, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	at := flags.String("at", "", "")
	d := Demo{
		Broker: func() (Broker, error) {
			if *at == "nowhere" {
				return nil, errors.New("bad address")
			}
			return b, nil
		},
		Read: func(ctx context.Context, m Member) error {
			<-ctx.Done()
			return fmt.Errorf("read %s as %s with %d workers", m.Topic, m.Group, m.Workers)
		},
		start: start,
	}
	return d.main(flags, args, strings.NewReader(""), stdout, io.Discard)
}

func TestMainReadsAsAMemberUntilStandardInputEnds(t *testing.T) {
	for reader, workers := range map[string]int{"partition": 8, "key": 100} {
		err := mainWith(&fakeBroker{}, []string{"-member", "topic/group/" + reader}, io.Discard)
		if want := fmt.Sprintf("read topic as group with %d workers", workers); err == nil || err.Error() != want {
			t.Errorf("%s: error = %v, want %s", reader, err, want)
		}
	}
}

func TestMainPrintsTheResultAndThenFailsWhenAPromiseWasBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stdout bytes.Buffer
		f := &fakeProcesses{handles: func(n int, heard func(line string)) {
			if n != 800 {
				handle(n, heard)
			}
		}}
		err := mainOn(&fakeBroker{}, f.start, []string{"-json", "-messages", strconv.Itoa(comments)}, &stdout)
		if err == nil || !strings.Contains(err.Error(), "1 lost") {
			t.Errorf("error = %v, want one lost message", err)
		}
		var result table
		if err := json.Unmarshal(stdout.Bytes(), &result); err != nil || result.Lost != 1 {
			t.Errorf("standard output = %q, want one object that says so: %v", &stdout, err)
		}
	})
}

func TestMainSucceedsWhenNoPromiseWasBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stdout bytes.Buffer
		f := &fakeProcesses{}
		if err := mainOn(&fakeBroker{}, f.start, []string{"-messages", strconv.Itoa(comments)}, &stdout); err != nil {
			t.Errorf("error = %v", err)
		}
		if out := stdout.String(); !strings.Contains(out, "outage after kill -9") {
			t.Errorf("output has no table:\n%s", out)
		}
	})
}

func TestCountsAreBrokenByEachPromiseAlone(t *testing.T) {
	for _, tt := range []struct {
		result Counts
		broken bool
	}{
		{Counts{Violations: 1}, true},
		{Counts{Overlaps: 1}, true},
		{Counts{Lost: 1}, true},
		{Counts{Replayed: 7, Bound: 9, Outage: 6}, false},
	} {
		if err := tt.result.Broken(); (err != nil) != tt.broken {
			t.Errorf("%+v: broken = %v, want an error: %t", tt.result, err, tt.broken)
		}
	}
}

func TestTableShowsTheOutageAsTextAndAsANumberOfSeconds(t *testing.T) {
	result := table{Baseline: 150, Keystrand: 1_800, Speedup: 12, Counts: Counts{Outage: 6.25}}
	var text, object bytes.Buffer
	if err := errors.Join(result.writeText(&text), result.writeJSON(&object)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "6.2 s until the next message") {
		t.Errorf("text lacks the outage:\n%s", &text)
	}
	var fields map[string]any
	if err := json.Unmarshal(object.Bytes(), &fields); err != nil {
		t.Fatal(err)
	}
	if fields["outage"] != 6.25 {
		t.Errorf("outage = %v, want 6.25", fields["outage"])
	}
}
