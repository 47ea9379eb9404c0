package pulsar

import (
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
)

// wave gathers the library's answers for the messages that are on their way together. It is used again, with its
// callbacks, once all have come; if some have not, it is left to the library and what it may still say.
type wave struct {
	mu    sync.Mutex
	slots []*slot // one a message; more than used ones may be there. Appended to by the sender alone
	used  int
	left  int           // unanswered, and one more while the sender is at it; guarded by mu
	all   chan struct{} // room for one: left has become 0
}

// slot is one message's place.
type slot struct {
	wave     *wave
	callback func(pulsar.MessageID, *pulsar.ProducerMessage, error) // its answer method, made once
	answered bool                                                   // guarded by wave.mu
	err      error                                                  // guarded by wave.mu
	refused  bool                                                   // the answer came before SendAsync returned; the sender's alone
}

func newWave() *wave { return &wave{all: make(chan struct{}, 1)} }

// begin makes the wave empty. No callback may be outstanding.
func (v *wave) begin() {
	v.used, v.left = 0, 1
	select {
	case <-v.all:
	default:
	}
}

// add returns the place of the next message, about to be sent.
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

// answer takes the library's answer. Called by the library, from any goroutine.
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
		v.all <- struct{}{} // there is room: it happens once a wave
	}
}

// sent says that no more is added. It returns whether all has been answered; if not, all tells when.
func (v *wave) sent() (complete bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.left--
	return v.left == 0
}

// outcome returns what is known of message n of the wave.
func (v *wave) outcome(n int) (answered bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.slots[n].answered, v.slots[n].err
}
