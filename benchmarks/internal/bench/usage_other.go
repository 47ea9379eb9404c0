//go:build !unix

package bench

import "time"

// CPUTime is not known here: 0.
func CPUTime() time.Duration { return 0 }
