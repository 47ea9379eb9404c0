package keyed

// ID identifies a queue across its epochs: a partition.
type ID struct {
	Name   string
	Number int32
}

const (
	pageBits = 6 // small, so that an idle queue needs little memory
	pageSize = 1 << pageBits
	pageMask = pageSize - 1
)

// table finds the lanes of one queue id by key. It outlives the queue's epochs: a lane whose turn still runs after a
// fence stays in it, so items of that key in the next epoch find it and wait (I2). Guarded by Executor.mu.
//
// It is a hash table that grows by linear hashing: adding a lane splits at most one bucket, so the lock is never held
// while a million lanes move. Splitting at one lane a bucket costs 8 bytes a lane. Buckets are stored in pages, so the
// directory is small.
//
// A Go map in its place was measured: it costs 27 to 35 % more for each message.
type table[T any] struct {
	id      ID
	queue   *Queue[T]             // newest epoch
	barrier *lane[T]              // barrier that waits or runs, perhaps of an earlier epoch; no item joins a lane meanwhile
	pages   []*[pageSize]*lane[T] // only blank until a lane is added
	blank   *[pageSize]*lane[T]   // a page that stays empty; shared by all tables of an executor, so that an idle one has none
	level   uint                  // the table has 1<<level + split buckets
	split   uint32
	lanes   int
	peak    int // highest number of lanes since the last trim
}

func newTable[T any](id ID, blank *[pageSize]*lane[T]) *table[T] {
	t := &table[T]{id: id, blank: blank}
	t.reset()
	return t
}

// reset empties the table and frees its memory. It must have no lanes.
func (t *table[T]) reset() {
	t.pages, t.level, t.split, t.peak = []*[pageSize]*lane[T]{t.blank}, pageBits, 0, 0
}

func (t *table[T]) buckets() uint32 { return 1<<(t.level&31) + t.split }

func (t *table[T]) bucket(hash uint32) **lane[T] {
	mask := uint32(1)<<(t.level&31) - 1
	i := hash & mask
	if i < t.split {
		i = hash & (2*mask + 1)
	}
	return &t.pages[i>>pageBits][i&pageMask]
}

func (t *table[T]) at(i uint32) **lane[T] { return &t.pages[i>>pageBits][i&pageMask] }

// find returns the lane of a key, or nil. Different keys may have the same hash, so it compares keys too.
func (t *table[T]) find(hash uint32, key string) *lane[T] {
	return findIn(*t.bucket(hash), hash, key)
}

// findIn is find in one bucket.
func findIn[T any](l *lane[T], hash uint32, key string) *lane[T] {
	for ; l != nil; l = l.chain {
		if l.hash == hash && l.flags&flagUnordered == 0 && l.key == key {
			return l
		}
	}
	return nil
}

// add adds a lane to the bucket of its hash.
func (t *table[T]) add(l *lane[T], bucket **lane[T]) {
	if t.pages[0] == t.blank {
		t.pages[0] = new([pageSize]*lane[T])
		bucket = t.bucket(l.hash)
	}
	l.chain = *bucket
	*bucket = l
	l.table = t
	t.lanes++
	if t.lanes > t.peak {
		t.peak = t.lanes
	}
	if uint32(t.lanes) > t.buckets() && t.level < 31 {
		t.grow()
	}
}

func (t *table[T]) remove(l *lane[T]) {
	p := t.bucket(l.hash)
	for *p != l {
		p = &(*p).chain
	}
	*p = l.chain
	l.chain = nil
	t.lanes--
}

// grow splits one bucket.
func (t *table[T]) grow() {
	if t.buckets()&pageMask == 0 {
		t.pages = append(t.pages, new([pageSize]*lane[T]))
	}
	low, high := t.at(t.split), t.at(t.buckets())
	bit := uint32(1) << t.level
	l := *low
	*low = nil
	for l != nil {
		next := l.chain
		to := low
		if l.hash&bit != 0 {
			to = high
		}
		l.chain, *to = *to, l
		l = next
	}
	t.split++
	if t.split == bit {
		t.level++
		t.split = 0
	}
}

// shrink merges one bucket into the one it was split from.
func (t *table[T]) shrink() {
	if t.split == 0 {
		t.level--
		t.split = 1 << t.level
	}
	t.split--
	low, high := t.at(t.split), t.at(t.buckets())
	if *high != nil {
		end := &(*high).chain
		for *end != nil {
			end = &(*end).chain
		}
		*end, *low, *high = *low, *high, nil
	}
	if t.buckets()&pageMask == 0 {
		t.pages[len(t.pages)-1] = nil
		t.pages = t.pages[:len(t.pages)-1]
	}
}

// walk calls visit for the lanes whose hash ends in the bits of step. Steps 0 to 1<<bits - 1 visit every lane that
// stays exactly once, even if buckets are split and merged between steps. So the lock may be released between steps.
func (t *table[T]) walk(step uint32, bits uint, visit func(*lane[T])) {
	mask := uint32(1)<<bits - 1
	if t.level < bits { // the table has shrunk since the walk began
		for l := *t.bucket(step); l != nil; {
			next := l.chain
			if l.hash&mask == step {
				visit(l)
			}
			l = next
		}
		return
	}
	for i := step; i < t.buckets(); i += 1 << bits {
		for l := *t.at(i); l != nil; {
			next := l.chain
			visit(l)
			l = next
		}
	}
}
