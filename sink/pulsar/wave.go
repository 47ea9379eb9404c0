package pulsar

import (
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
)

// wave collects the library's answers for messages that are in flight together. It is reused, with its callbacks, after all
// answers have arrived. If an answer is missing, the wave is not reused, because the library may still call back.
type wave struct {
	mu    sync.Mutex
	slots []*slot // one per message, and unused ones behind them; only the sender appends
	used  int
	left  int           // missing answers, plus one while the sender adds messages; guarded by mu
	all   chan struct{} // capacity 1; receives when left becomes 0
}

// slot is the state of one message of a wave.
type slot struct {
	wave     *wave
	callback func(pulsar.MessageID, *pulsar.ProducerMessage, error) // the method answer, stored to allocate it once
	answered bool                                                   // guarded by wave.mu
	err      error                                                  // guarded by wave.mu
	refused  bool                                                   // refused before the wave was sent; used only by the sender
}

func newWave() *wave { return &wave{all: make(chan struct{}, 1)} }

// begin empties the wave. No answer may be missing.
func (v *wave) begin() {
	v.used, v.left = 0, 1
	select {
	case <-v.all:
	default:
	}
}

// add returns the slot of the next message. The caller sends it next.
func (v *wave) add() *slot {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.used == len(v.slots) {
		s := &slot{wave: v}
		s.callback = s.answer
		v.slots = append(v.slots, s)
	}
	s := v.slots[v.used]
	s.answered, s.err, s.refused = false, nil, false
	v.used++
	v.left++
	return s
}

// answer records the library's answer. The library calls it from any goroutine.
func (s *slot) answer(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
	v := s.wave
	v.mu.Lock()
	if s.answered {
		v.mu.Unlock()
		return
	}
	s.answered, s.err = true, err
	v.left--
	last := v.left == 0
	v.mu.Unlock()
	if last {
		v.all <- struct{}{} // never blocks: one send per wave
	}
}

// sent ends the adding of messages. It reports whether all answers have arrived; if not, v.all receives when they have.
func (v *wave) sent() (complete bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.left--
	return v.left == 0
}

// outcome reports whether message n of the wave is answered, and returns the error of the answer.
func (v *wave) outcome(n int) (answered bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.slots[n].answered, v.slots[n].err
}
