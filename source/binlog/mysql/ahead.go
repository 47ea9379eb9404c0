package mysql

import "sync/atomic"

// aheadBytes bounds the rows that go-mysql has read and Next has not.
const aheadBytes = 8 << 20

// ahead counts the bytes of rows that go-mysql has read ahead. Its buffer of eventCount counts events, whatever their size. An ahead
// is used by two goroutines: that of go-mysql calls add, and that of Next calls sub.
type ahead struct {
	bytes atomic.Int64
	less  chan struct{} // room for one: sub was called
	ended chan struct{} // closed by end
}

func newAhead() *ahead {
	return &ahead{less: make(chan struct{}, 1), ended: make(chan struct{})}
}

// add adds an event. It waits while there is too much, until end is called. A large event goes alone.
func (a *ahead) add(bytes int) {
	for a.bytes.Load() > 0 && a.bytes.Load()+int64(bytes) > aheadBytes {
		select {
		case <-a.less:
		case <-a.ended:
			return
		}
	}
	a.bytes.Add(int64(bytes))
}

func (a *ahead) sub(bytes int) {
	a.bytes.Add(-int64(bytes))
	select {
	case a.less <- struct{}{}:
	default:
	}
}

// end lets add return. It is called once.
func (a *ahead) end() { close(a.ended) }
