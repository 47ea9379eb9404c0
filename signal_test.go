package keystrand_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/memory"
)

// signalLines are the lines of README's program that handle signals.
const signalLines = `ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
context.AfterFunc(ctx, stop) // a second signal ends the process at once
`

// drains is a process with these lines. It prints when stop has returned. Its handler ends only by its ctx, and the drain
// outlasts the test.
func drains() error {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	stop := func() { restore(); fmt.Println("signals restored") }
	context.AfterFunc(ctx, stop)
	log := memory.NewLog("comments", 1)
	log.Append(0, keystrand.Message{Key: []byte("post-1")})
	p, err := pipeline.From(memory.NewSource(memory.Config{}, log)).
		HandleFunc(func(ctx context.Context, _ *keystrand.Message) error {
			fmt.Println("handling")
			<-ctx.Done()
			return ctx.Err()
		}).
		Timing(pipeline.Timing{DrainTimeout: time.Hour}).
		Logger(slog.New(slog.NewTextHandler(os.Stdout, nil))).
		Build()
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// The first signal drains, the second ends the process. A process that drains on is killed.
func TestSecondSignalEndsTheProcessAtOnce(t *testing.T) {
	const child = "KEYSTRAND_TEST_DRAINS"
	if os.Getenv(child) != "" {
		if err := drains(); err != nil {
			t.Fatal(err)
		}
		return
	}
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send signals")
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), signalLines) {
		t.Errorf("README.md lacks the lines that this test checks:\n%s", signalLines)
	}
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(second.String(), func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+strings.Split(t.Name(), "/")[0]+"$")
			cmd.Env = append(os.Environ(), child+"=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			send := func(sig syscall.Signal) {
				if err := cmd.Process.Signal(sig); err != nil {
					t.Error(err)
				}
			}
			ready, warnings := 0, 0
			for lines := bufio.NewScanner(out); lines.Scan(); {
				switch line := lines.Text(); {
				case strings.Contains(line, "handling"):
					send(syscall.SIGTERM)
				case strings.Contains(line, "draining partitions"), strings.Contains(line, "signals restored"):
					if ready++; ready == 2 {
						send(second)
					}
				case strings.Contains(line, "held up"): // every 10 s
					if warnings++; warnings == 3 {
						send(syscall.SIGKILL)
					}
				}
			}
			_ = cmd.Wait() // the state has the result
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != second {
				t.Errorf("the process ended with %v, want the signal %v", cmd.ProcessState, second)
			}
		})
	}
}
