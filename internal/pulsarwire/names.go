package pulsarwire

import "sync"

// names numbers the names of producers, so that a note has room in the place of a name. It forgets none: messages with a
// number may wait for any time.
type names struct {
	mu      sync.RWMutex
	numbers map[string]uint16
	all     []string
}

// Bounds of the memory for names. Notes of other producers travel in front of their names.
const (
	maxNames = 1 << 16
	maxName  = 64
)

var producers names //nolint:gochecknoglobals // shared by all clients, as are their producers

// number returns the number of a name. It reports false if there is no room for it.
func (n *names) number(name []byte) (number uint16, ok bool) {
	n.mu.RLock()
	number, ok = n.numbers[string(name)]
	n.mu.RUnlock()
	if ok {
		return number, true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if number, ok = n.numbers[string(name)]; ok {
		return number, true
	}
	if len(n.all) == maxNames || len(name) > maxName {
		return 0, false
	}
	if n.numbers == nil {
		n.numbers = make(map[string]uint16)
	}
	number = uint16(len(n.all)) //nolint:gosec // below maxNames
	text := string(name)
	n.numbers[text], n.all = number, append(n.all, text)
	return number, true
}

// name returns the name with a number.
func (n *names) name(number uint16) (string, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if int(number) >= len(n.all) {
		return "", false
	}
	return n.all[number], true
}
