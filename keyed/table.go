package keyed

// ID names a queue: a partition without its epoch.
type ID struct {
	Name   string
	Number int32
}

const (
	pageBits = 6 // so that an idle queue is small
	pageSize = 1 << pageBits
	pageMask = pageSize - 1
)

// table finds the lanes of one queue id by key. It outlives the epochs of the queue: a lane whose turn still runs after
// a fence stays in it, so the next epoch's items of that key find it and wait (I2). Guarded by Executor.mu.
//
// It grows by linear hashing: one bucket is split for one lane added, so there is no moment at which all of a million
// lanes move while the lock is held. A Go map would move or copy many at a time and could not be walked in pieces.
// Buckets are kept in pages, so the directory is small. Splitting at one lane a bucket makes the share of a lane 8 bytes.
type table[T any] struct {
	id      ID
	queue   *Queue[T] // the newest epoch
	barrier *lane[T]  // waits for its turn, or has it, perhaps of an earlier epoch: nothing joins
	pages   []*[pageSize]*lane[T]
	level   uint // there are 1<<level + split buckets
	split   uint32
	lanes   int
	peak    int // most lanes since the last trim
}

func newTable[T any](id ID) *table[T] {
	t := &table[T]{id: id}
	t.reset()
	return t
}

// reset makes it small; there must be no lanes.
func (t *table[T]) reset() {
	t.pages, t.level, t.split, t.peak = []*[pageSize]*lane[T]{new([pageSize]*lane[T])}, pageBits, 0, 0
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

// find compares whole keys: equal hash is not equal key.
func (t *table[T]) find(hash uint32, key string) *lane[T] {
	return findIn(*t.bucket(hash), hash, key)
}

// findIn is find in a bucket.
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

// walk calls visit for each lane, in pieces, so that the lock need not be held throughout: step s of 1<<bits visits the
// lanes whose hash ends in s, wherever splits and merges have moved them meanwhile. None that stays is missed or seen twice.
func (t *table[T]) walk(step uint32, bits uint, visit func(*lane[T])) {
	mask := uint32(1)<<bits - 1
	if t.level < bits { // shrunk since the walk began
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
