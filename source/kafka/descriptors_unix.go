//go:build unix

package kafka

import (
	"math"
	"syscall"
)

// descriptors returns how many files the process may open, and how many are open. The runtime has raised the soft limit to the
// hard one.
func descriptors() (limit, open int, known bool) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, 0, false
	}
	return int(min(uint64(r.Cur), math.MaxInt32)), openDescriptors(), true //nolint:unconvert // signed on some systems
}
