package sql

import (
	"errors"
	"fmt"

	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/internal/record"
)

// unreadable returns the error of a part of the tables that cannot be read.
func unreadable(part string, err error) error {
	if errors.Is(err, record.ErrNewer) {
		return fmt.Errorf("%s: %w: run that version: %w", part, err, spill.ErrUnusable)
	}
	return fmt.Errorf("%s cannot be read: %w: restore the tables from a backup, or delete its rows, which gives up their messages: %w", part, err, spill.ErrUnusable)
}
