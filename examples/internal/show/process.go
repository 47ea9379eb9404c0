package show

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/keystrand/keystrand"
)

// Begins reports that the handling of a message begins.
func Begins(m *keystrand.Message) { report('b', m) }

// Ends reports that a message was handled.
func Ends(m *keystrand.Message) { report('e', m) }

// report writes the whole line in one call, so that the demo knows everything that a killed process did.
func report(event byte, m *keystrand.Message) {
	_, _ = os.Stdout.Write(fmt.Appendf(nil, "%c %s %s %d %d\n", event, m.Key, m.Value, m.Partition, m.Offset))
}

// A process reads the topic: it is this program, started again as a Member.
type process interface {
	// ended is closed when the process has ended and all its reports were read.
	ended() <-chan struct{}
	// stop lets the process finish its work, commit and leave the group.
	stop() error
	// kill ends the process as a crash would.
	kill()
}

// starter starts a process that passes each of its reports to heard. The flags make it a member.
type starter func(flags []string, heard func(line string)) (process, error)

type child struct {
	cmd   *exec.Cmd
	input io.Closer
	gone  chan struct{}
	err   error // of the process; set before gone is closed
}

func startProcess(flags []string, heard func(line string)) (process, error) {
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

func (p *child) ended() <-chan struct{} { return p.gone }

func (p *child) stop() error {
	_ = p.input.Close()
	<-p.gone
	return p.err
}

func (p *child) kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}
