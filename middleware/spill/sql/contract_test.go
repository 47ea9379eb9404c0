package sql_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/spilltest"
	spillsql "github.com/keystrand/keystrand/middleware/spill/sql"
)

// child is the variable with the arguments of the process that appends until it is killed: epoch, name of the store, dialect,
// driver and URL.
const child = "KEYSTRAND_SPILL_SQL_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(child); args != "" {
		fmt.Fprintln(os.Stderr, appendUntilKilled(strings.Fields(args)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func randomName() string { return rand.Text()[:10] }

func TestLiveStoreKeepsItsContract(t *testing.T) {
	onEach(t, func(t *testing.T, db database) {
		t.Helper()
		pool := db.pool(t)
		spilltest.Run(t, func(*testing.T) *spilltest.Env {
			name := randomName() // an empty store in the same tables
			return &spilltest.Env{
				Open: func() (spill.Store, error) { return spillsql.New(pool, db.dialect, name) },
				Kill: func(ctx context.Context, epoch int64, n int) (int, error) { return kill(ctx, db, name, epoch, n) },
			}
		})
	})
}

// kill runs this program as a process that appends, and kills it after n Appends.
func kill(ctx context.Context, db database, name string, epoch int64, n int) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %d %s %s", child, epoch, name, db.dialect, db.driver, db.url))
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

func appendUntilKilled(args []string) error {
	epoch, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	dialect, err := strconv.ParseUint(args[2], 10, 8)
	if err != nil {
		return err
	}
	pool, err := sql.Open(args[3], args[4])
	if err != nil {
		return err
	}
	s, err := spillsql.New(pool, spillsql.Dialect(dialect), args[1])
	if err != nil {
		return err
	}
	return spilltest.AppendNumbered(context.Background(), s, "in", epoch, os.Stdout)
}
