package kafkabroker

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/keystrand/keystrand/examples/internal/show"
)

const brokerProgram = "github.com/keystrand/keystrand/examples/broker"

// embedded is a broker that runs in a process of its own, until its standard input ends.
type embedded struct {
	address string
	cmd     *exec.Cmd
	input   io.Closer
}

// startEmbedded compiles and starts the broker, and waits until it listens.
func startEmbedded(ctx context.Context, out *show.Output) (*embedded, error) {
	out.Line("Starting an embedded Kafka broker. It is compiled first, which takes up to a minute when run for the first time.")
	e := &embedded{cmd: exec.CommandContext(ctx, "go", "run", brokerProgram)}
	e.cmd.Stderr = os.Stderr
	var err error
	if e.input, err = e.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.cmd.Start(); err != nil {
		return nil, noBroker(err)
	}
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n') // after an error the process has ended, and Wait returns the cause
		lines <- line
	}()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case line := <-lines:
			if e.address = strings.TrimSpace(line); e.address == "" {
				return nil, noBroker(cmp.Or(e.close(), errors.New("it printed no address")))
			}
			return e, nil
		case <-tick.C:
			out.Progress("%3.0f s", time.Since(began).Seconds())
		}
	}
}

func (e *embedded) close() error {
	_ = e.input.Close()
	return e.cmd.Wait()
}

func noBroker(err error) error {
	return fmt.Errorf("start the embedded broker (go run %s): %w; "+
		"run this program in a checkout of keystrand, with go in PATH", brokerProgram, err)
}
