package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keystrand/keystrand/internal/pause"
)

// ErrLocked is in the error of a transaction that could not begin because others of the same file were not over.
var ErrLocked = errors.New("another transaction has locked the file")

// beginSQLite begins a transaction that excludes all others of the file, and returns the statement that restores the setting
// of the connection. It waits for its turn itself: SQLite would go on waiting after the end of ctx. EXCLUSIVE means that
// COMMIT waits for nobody, not even for those who read without a write-ahead log.
func beginSQLite(ctx context.Context, c *sql.Conn, t Timeouts) (restore string, err error) {
	var busy int
	if err := c.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&busy); err != nil {
		return "", err
	}
	restore = "PRAGMA busy_timeout = " + strconv.Itoa(busy)
	if _, err := c.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return restore, err
	}
	wait := time.Millisecond
	for begun := time.Now(); ; wait = min(2*wait, 50*time.Millisecond) {
		_, err := c.ExecContext(ctx, "BEGIN EXCLUSIVE")
		if err == nil || !strings.Contains(err.Error(), "locked") { // the text of SQLite's own, whatever the driver
			return restore, err
		}
		if time.Since(begun) >= t.Lock {
			return restore, fmt.Errorf("%w for %v; its process may be frozen: end it: %w", ErrLocked, t.Lock, err)
		}
		if err := pause.For(ctx, wait); err != nil {
			return restore, err
		}
	}
}
