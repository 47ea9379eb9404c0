package bench

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// PeakRSS returns the peak of this process's resident memory in MB, or 0 if the system does not tell. It reads /proc,
// since the peak that wait4 returns for a child includes its parent's memory at the fork.
func PeakRSS() float64 { return status("VmHWM:") }

// RSS returns the resident memory of this process in MB, or 0 if the system does not tell. It first frees all memory that
// the process does not use.
func RSS() float64 {
	debug.FreeOSMemory()
	return status("VmRSS:")
}

// status returns a field of /proc/self/status in MB.
func status(field string) float64 {
	all, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(all)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024
		}
	}
	return 0
}

// Usage is what this process used between Start and Stop of a [Meter].
type Usage struct {
	Seconds float64
	CPU     float64 // seconds
	Allocs  float64
	Bytes   float64 // allocated
}

// Meter measures time, CPU and allocations. Its methods are safe for concurrent use.
type Meter struct {
	once  sync.Once
	mu    sync.Mutex
	start mark
	end   mark // of the last Stop
}

type mark struct {
	at            time.Time
	cpu           time.Duration
	allocs, bytes uint64
}

func now() mark {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return mark{time.Now(), CPUTime(), m.Mallocs, m.TotalAlloc}
}

// Start begins the measurement; only the first call counts.
func (m *Meter) Start() { m.once.Do(func() { m.start = now() }) }

// Stop ends it; only the last call counts.
func (m *Meter) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end = now()
}

// Usage returns the usage between Start and Stop.
func (m *Meter) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Usage{
		Seconds: m.end.at.Sub(m.start.at).Seconds(),
		CPU:     (m.end.cpu - m.start.cpu).Seconds(),
		Allocs:  float64(m.end.allocs - m.start.allocs),
		Bytes:   float64(m.end.bytes - m.start.bytes),
	}
}
