package bolt_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/bolt"
	"github.com/keystrand/keystrand/middleware/spill/spilltest"
)

// child is the variable with the arguments of the process that appends until it is killed: the epoch and the file.
const child = "KEYSTRAND_BOLT_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(child); args != "" {
		fmt.Fprintln(os.Stderr, appendUntilKilled(args))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestStoreKeepsItsContract(t *testing.T) {
	spilltest.Run(t, func(t *testing.T) *spilltest.Env {
		t.Helper()
		path := filepath.Join(t.TempDir(), "spill.db")
		return &spilltest.Env{
			Open: func() (spill.Store, error) { return bolt.New(path, bolt.Config{}) },
			Kill: func(ctx context.Context, epoch int64, n int) (int, error) { return kill(ctx, path, epoch, n) },
		}
	})
}

// kill runs this program as a process that appends, and kills it after n Appends.
func kill(ctx context.Context, path string, epoch int64, n int) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", child, epoch, path))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	acked := 0
	for lines := bufio.NewScanner(out); lines.Scan(); acked++ { // also those in the pipe after the kill
		if acked+1 == n {
			if err := cmd.Process.Kill(); err != nil {
				return 0, err
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		return 0, fmt.Errorf("the process ended before it was killed: %w", err)
	}
	return acked, nil
}

func appendUntilKilled(args string) error {
	epoch, path, _ := strings.Cut(args, " ")
	n, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return err
	}
	s, err := bolt.New(path, bolt.Config{})
	if err != nil {
		return err
	}
	return spilltest.AppendNumbered(context.Background(), s, "in", n, os.Stdout)
}
