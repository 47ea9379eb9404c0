package show

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/keystrand/keystrand"
)

// Begins reports that the handling of a message begins, or of a batch by its first message.
func Begins(m *keystrand.Message) { report('b', m) }

// Ends reports that the messages that began with the first of these were handled.
func Ends(ms ...*keystrand.Message) { _, _ = os.Stdout.Write(appendEnds(nil, ms)) }

func appendEnds(lines []byte, ms []*keystrand.Message) []byte {
	for i, m := range ms {
		if i > 0 {
			lines = appendReport(lines, 'b', m)
		}
		lines = appendReport(lines, 'e', m)
	}
	return lines
}

// report writes the whole line in one call, so that the demo knows everything that a killed process did.
func report(event byte, m *keystrand.Message) { _, _ = os.Stdout.Write(appendReport(nil, event, m)) }

func appendReport(lines []byte, event byte, m *keystrand.Message) []byte {
	return fmt.Appendf(lines, "%c %s %s %d %d\n", event, m.Key, m.Value, m.Partition, m.Offset)
}

// A Process reads a topic: it is this program, started again as a member.
type Process interface {
	// Ended is closed when the process has ended and all its reports were read.
	Ended() <-chan struct{}
	// Stop lets the process finish its work, commit and leave the group.
	Stop() error
	// Kill ends the process as a crash would. It returns when all its reports were read.
	Kill()
}

// A Starter starts a process that passes each of its reports to heard. The flags make it a member.
type Starter func(flags []string, heard func(line string)) (Process, error)

type child struct {
	cmd   *exec.Cmd
	input io.Closer
	gone  chan struct{}
	err   error // of the process; set before gone is closed
}

// StartProcess is a [Starter] of real processes.
func StartProcess(flags []string, heard func(line string)) (Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &child{cmd: exec.Command(self, flags...), gone: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			heard(lines.Text())
		}
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	return p, nil
}

func (p *child) Ended() <-chan struct{} { return p.gone }

func (p *child) Stop() error {
	_ = p.input.Close()
	<-p.gone
	return p.err
}

func (p *child) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}

// UntilInputEnds returns the context of a process that [StartProcess] has started. It ends with the standard input: at Stop,
// or when the demo has died.
func UntilInputEnds(stdin io.Reader) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	return ctx
}
