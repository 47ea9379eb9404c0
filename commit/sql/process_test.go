//go:build unix

package sql_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/commit/storetest"
)

// child is the variable with the orders of a child process.
const child = "KEYSTRAND_COMMIT_SQL_CHILD"

// orders is what a child process does.
type orders struct {
	Dialect     commitsql.Dialect
	Driver, URL string
	Name        string // of the store
	Freeze      int    // it freezes itself before the COMMIT with this number; 0: never
}

func TestMain(m *testing.M) {
	if text := os.Getenv(child); text != "" {
		fmt.Println(obey(text))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// obey saves numbered progress until a Save is refused, or the process is killed. It returns why it ended.
func obey(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	db := database{dialect: o.Dialect, driver: o.Driver, url: o.URL}
	commits := 0
	pool, err := db.open(func(_ context.Context, statement string) (string, error) {
		if statement == "COMMIT" {
			if commits++; commits == o.Freeze {
				err := syscall.Kill(os.Getpid(), syscall.SIGSTOP)
				time.Sleep(200 * time.Millisecond) // real time: the kernel stops this thread soon, not at once
				return statement, err
			}
		}
		return statement, nil
	})
	if err != nil {
		return err
	}
	s, err := commitsql.New(pool, o.Dialect, o.Name, commitsql.Config{})
	if err != nil {
		return err
	}
	again := &retrying{Store: s}
	err = storetest.SaveNumbered(context.Background(), again, "in", os.Stdout)
	return fmt.Errorf("first error: %w; then: %w", again.first, err)
}

// retrying saves again after an error, like a pipeline, once.
type retrying struct {
	commit.Store
	first error
}

func (r *retrying) Save(ctx context.Context, stream string, partition int32, p *commit.Progress) error {
	err := r.Store.Save(ctx, stream, partition, p)
	if err != nil && r.first == nil {
		r.first = err
		err = r.Store.Save(ctx, stream, partition, p)
	}
	return err
}

// start starts this program as a child. Its output ends with the child.
func (db database) start(ctx context.Context, name string, freeze int) (*exec.Cmd, io.Reader, error) {
	text, err := json.Marshal(orders{db.dialect, db.driver, db.url, name, freeze})
	if err != nil {
		return nil, nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), child+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	return cmd, out, err
}

// kill runs a child that saves, and kills it after n Saves.
func (db database) kill(ctx context.Context, name string, n int) (int, error) {
	cmd, out, err := db.start(ctx, name, 0)
	if err != nil {
		return 0, err
	}
	saved := 0
	var last string
	for lines := bufio.NewScanner(out); lines.Scan(); saved++ { // also those in the pipe after the kill
		if last = lines.Text(); saved+1 == n {
			if err := cmd.Process.Kill(); err != nil {
				return 0, err
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		return 0, fmt.Errorf("the process ended before it was killed: %w: %s", err, last)
	}
	return saved, nil
}

// frozen starts a child that freezes before a COMMIT, and returns when it has. Thaw lets it go on, and returns what it said last.
func (db database) frozen(t *testing.T, name string, freeze int) (thaw func() string) {
	t.Helper()
	cmd, out, err := db.start(t.Context(), name, freeze)
	if err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the child has not frozen: %v %v", status, err)
	}
	thaw = func() string {
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it ends with 1
		return string(text)
	}
	t.Cleanup(func() { _ = errors.Join(cmd.Process.Kill(), cmd.Wait()) })
	return thaw
}
