package pipeline

import (
	"reflect"
	"slices"
	"sync"

	"github.com/keystrand/keystrand/source"
)

// perWatcher is how many partitions a watcher receives from. A partition then needs a small part of a goroutine, and a
// watcher that wakes looks at few channels.
const perWatcher = 128

// watchers receive from the Leaving channels of all partitions and pass the values on to the owners.
type watchers struct {
	start func(func()) // starts a goroutine; set by Run before the first add

	mu  sync.Mutex
	all []*watcher
}

// watcher is one goroutine. It ends when it has no partition.
type watcher struct {
	changed chan struct{} // tells the goroutine that its partitions have changed; one slot
	members []*partition  // guarded by watchers.mu
}

// add watches a partition until remove. It takes O(partitions / perWatcher), once in an ownership.
func (ws *watchers) add(pt *partition) {
	pt.leaving = pt.source.Leaving() // once: a source need not expect a call after Release
	ws.mu.Lock()
	defer ws.mu.Unlock()
	i := slices.IndexFunc(ws.all, func(w *watcher) bool { return len(w.members) < perWatcher })
	if i < 0 {
		pt.watcher = &watcher{changed: make(chan struct{}, 1), members: []*partition{pt}}
		ws.all = append(ws.all, pt.watcher)
		ws.start(func() { ws.watch(pt.watcher) })
		return
	}
	pt.watcher = ws.all[i]
	pt.watcher.members = append(pt.watcher.members, pt)
	pt.watcher.change()
}

// remove ends the watch over a partition. A value may still be passed on for a moment.
func (ws *watchers) remove(pt *partition) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := pt.watcher
	if i := slices.Index(w.members, pt); i >= 0 {
		w.members = slices.Delete(w.members, i, i+1)
		w.change()
	}
}

func (w *watcher) change() {
	select {
	case w.changed <- struct{}{}:
	default: // it knows
	}
}

// watch is the goroutine of a watcher.
func (ws *watchers) watch(w *watcher) {
	var members []*partition
	var cases []reflect.SelectCase
	for {
		if members = ws.members(w, members[:0]); len(members) == 0 {
			return
		}
		cases = slices.Grow(cases[:0], 1+len(members))
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(w.changed)})
		for _, pt := range members {
			cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(pt.leaving)})
		}
		i, v, open := reflect.Select(cases)
		clear(cases)
		if l, ok := reflect.TypeAssert[source.Leave](v); ok {
			members[i-1].revoke(l)
			if !open { // against the contract: it would be ready again and again
				ws.remove(members[i-1])
			}
		}
		clear(members)
	}
}

// members appends the partitions of w to dst. If there is none, it forgets w.
func (ws *watchers) members(w *watcher, dst []*partition) []*partition {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(w.members) == 0 {
		ws.all = slices.DeleteFunc(ws.all, func(x *watcher) bool { return x == w })
	}
	return append(dst, w.members...)
}
