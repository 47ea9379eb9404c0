package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"github.com/keystrand/keystrand"
)

// tell writes one event of a message to standard output: in one call, so that a killed process has told what it did.
func tell(event byte, m *keystrand.Message) {
	_, _ = os.Stdout.Write(fmt.Appendf(nil, "%c %s %s %d %d\n", event, m.Key, m.Value, m.Partition, m.Offset))
}

// member is a process that reads the topic: this program again.
type member struct {
	cmd   *exec.Cmd
	input io.Closer
	told  sync.WaitGroup
}

func start(b broker, topic, group string, baseline bool, c *check) (*member, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	flags := append(b.flags(), "-topic", topic, "-member", group, fmt.Sprintf("-baseline=%t", baseline))
	m := &member{cmd: exec.Command(self, flags...)}
	m.cmd.Stderr = os.Stderr
	if m.input, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	c.process()
	m.told.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.event(lines.Text())
		}
	})
	return m, nil
}

// stop lets the member drain, commit and leave.
func (m *member) stop() error {
	_ = m.input.Close()
	m.told.Wait()
	return m.cmd.Wait()
}

// kill ends the member as a crash would.
func (m *member) kill() {
	_ = m.cmd.Process.Kill()
	m.told.Wait()
	_ = m.cmd.Wait() // it says that it was killed
}
