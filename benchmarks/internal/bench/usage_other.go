//go:build !unix

package bench

import "time"

// CPUTime returns 0: this system has no getrusage.
func CPUTime() time.Duration { return 0 }
