package fetch

import (
	"testing"
	"time"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
)

func TestPaceFollowsHowFastResponsesAreRead(t *testing.T) {
	p := newPace(1 << 20)
	if p.bytes != firstRequest {
		t.Errorf("begins with %d bytes, want %d", p.bytes, firstRequest)
	}
	for range 10 { // read at once
		p.waited(0, p.bytes)
	}
	if p.bytes != 1<<20 {
		t.Errorf("asks for %d bytes when each response is read at once, want the most", p.bytes)
	}
	p.waited(50*time.Millisecond, p.bytes)
	if p.bytes != 1<<20 {
		t.Errorf("asks for %d bytes after a wait of 50 ms, want no change", p.bytes)
	}
	for range 10 {
		p.waited(time.Second, p.bytes)
	}
	if p.bytes != buffer.LeastShare {
		t.Errorf("asks for %d bytes when each response waits for a second, want %d", p.bytes, buffer.LeastShare)
	}
	p.waited(0, 100) // at the end of the log
	if p.bytes != buffer.LeastShare {
		t.Errorf("asks for %d bytes after a response of 100 B, want no change", p.bytes)
	}
	if p := newPace(100); p.bytes != 100 {
		t.Errorf("asks for %d bytes, want at most 100", p.bytes)
	}
}
