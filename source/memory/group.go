package memory

import (
	"fmt"
	"slices"
	"time"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
)

// Group is the state of one group of readers of a log: committed progress, epochs, members and owners. Groups are independent
// of each other. A Group is safe for concurrent use.
type Group struct {
	log  *Log
	name string

	// Guarded by log.mu.
	members []*Source // in the order they joined
	parts   []part
}

// part is the state of one partition in a group. It is guarded by the mu of the log.
type part struct {
	owner  *partition // nil: free
	target *Source    // the current owner, or the next one
	epoch  int64      // epoch of the latest ownership
	stored *stored    // nil: no commit yet
}

// Committed returns the stored progress of a partition, nil if there is none. It has less than the commit if the commit exceeded
// [Config].CommitLimit.
func (g *Group) Committed(partition int32) *commit.Progress {
	g.log.mu.Lock()
	s := g.parts[partition].stored
	g.log.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.progress()
}

// Epoch returns the epoch of the latest ownership of a partition, 0 if there was none.
func (g *Group) Epoch(partition int32) int64 {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	return max(g.parts[partition].epoch, g.parts[partition].storedEpoch())
}

// Members returns the number of members.
func (g *Group) Members() int {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	return len(g.members)
}

// Free reports whether the partition has no owner.
func (g *Group) Free(partition int32) bool {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	return g.parts[partition].owner == nil
}

func (g *Group) joinLocked(s *Source) {
	g.members = append(g.members, s)
	g.balanceLocked()
}

// leaveLocked removes a member. It loses the partitions that it still owns.
func (g *Group) leaveLocked(s *Source) {
	i := slices.Index(g.members, s)
	if i < 0 {
		return
	}
	g.members = slices.Delete(g.members, i, i+1)
	for p := range g.parts {
		if owner := g.parts[p].owner; owner != nil && owner.source == s {
			g.loseLocked(owner, nil)
		}
	}
	g.balanceLocked()
}

// balanceLocked assigns the partitions evenly to the members, moving as few as possible, and revokes those that move. If the
// partitions cannot be divided evenly, the members that already hold more keep one more.
func (g *Group) balanceLocked() {
	held := make(map[*Source][]int, len(g.members))
	var loose []int
	for p := range g.parts {
		if t := g.parts[p].target; t != nil && slices.Contains(g.members, t) {
			held[t] = append(held[t], p)
			continue
		}
		g.parts[p].target = nil
		loose = append(loose, p)
	}
	if len(g.members) == 0 {
		return
	}
	for _, parts := range held {
		// Partitions without an owner move first, because they need no drain. Moreover, a member that lost a partition cannot get
		// it back before its Release.
		slices.SortStableFunc(parts, func(a, b int) int { return g.freeLocked(a) - g.freeLocked(b) })
	}
	order := slices.Clone(g.members)
	slices.SortStableFunc(order, func(a, b *Source) int { return len(held[b]) - len(held[a]) })
	share, more := len(g.parts)/len(order), len(g.parts)%len(order)
	quota := func(i int) int {
		if i < more {
			return share + 1
		}
		return share
	}
	for i, m := range order {
		if n := quota(i); len(held[m]) > n {
			loose = append(loose, held[m][n:]...)
			held[m] = held[m][:n]
		}
	}
	slices.Sort(loose)
	for i, m := range order {
		for len(held[m]) < quota(i) {
			g.parts[loose[0]].target = m
			held[m] = append(held[m], loose[0])
			loose = loose[1:]
		}
	}
	for p := range g.parts {
		if owner := g.parts[p].owner; owner != nil && owner.source != g.parts[p].target {
			g.revokeLocked(owner)
		}
	}
	g.wakeLocked()
}

// freeLocked returns 1 for a partition without an owner, else 0.
func (g *Group) freeLocked(p int) int {
	if g.parts[p].owner == nil {
		return 1
	}
	return 0
}

// revokeLocked revokes a partition. Later calls have no effect.
func (g *Group) revokeLocked(p *partition) {
	leave, d := source.Leave{}, p.source.cfg.LeaveTimeout
	if d > 0 {
		leave.Deadline = time.Now().Add(d)
	}
	if !p.tenure.Revoke(leave) {
		return
	}
	p.shard.wake()
	if d > 0 {
		p.deadline = time.AfterFunc(d, func() {
			g.log.mu.Lock()
			defer g.log.mu.Unlock()
			g.loseLocked(p, nil)
		})
	}
}

// loseLocked ends the ownership of p at once. If next is not nil, it becomes the next owner.
func (g *Group) loseLocked(p *partition, next *Source) {
	if !p.tenure.Lose("another owner has it") {
		return
	}
	if p.deadline != nil {
		p.deadline.Stop()
	}
	at := &g.parts[p.id.Partition]
	at.owner = nil
	if next != nil {
		at.target = next
	}
	p.shard.wake()
	g.wakeLocked()
}

// takeLocked makes s the owner of a free partition that is assigned to it and has not ended. It returns nil if there is none. It
// reports whether all partitions are committed up to their ends.
func (g *Group) takeLocked(s *Source) (taken *partition, ended bool) {
	ended = true
	for i := range g.parts {
		at := &g.parts[i]
		if at.owner == nil && g.readLocked(i) {
			continue
		}
		ended = false
		if at.owner != nil || at.target != s || s.holds(g.log, int32(i)) {
			continue
		}
		restored := g.restoredLocked(int32(i))
		at.epoch = restored.Epoch
		at.owner = newPartition(s, g, source.ID{Stream: g.log.stream, Partition: int32(i), Epoch: restored.Epoch}, restored)
		return at.owner, false
	}
	return nil, ended
}

// readLocked reports whether a partition is closed and committed up to its end.
func (g *Group) readLocked(p int) bool {
	start, end, closed := g.log.shards[p].bounds()
	if at := g.parts[p].stored; at != nil && at.log == g.log.id {
		start = max(start, at.frontier)
	}
	return closed && start >= end
}

// restoredLocked returns the progress for a new owner of the partition.
func (g *Group) restoredLocked(p int32) *commit.Progress {
	at := &g.parts[p]
	start, _, _ := g.log.shards[p].bounds()
	r := &commit.Progress{Log: g.log.id, Epoch: max(at.epoch, at.storedEpoch()) + 1, Frontier: start}
	if at.stored == nil || at.stored.log != g.log.id {
		return r // no commit, or a commit for another log, whose offsets do not apply
	}
	kept := at.stored.progress()
	r.Frontier, r.At = max(start, kept.Frontier), kept.At
	for _, a := range kept.Ahead {
		if a.To > r.Frontier {
			r.Ahead = append(r.Ahead, commit.Range{From: max(a.From, r.Frontier), To: a.To})
		}
	}
	if len(r.Ahead) > 0 && r.Ahead[0].From == r.Frontier {
		r.Frontier, r.Ahead = r.Ahead[0].To, r.Ahead[1:]
	}
	return r
}

// store stores progress for the next owner.
func (g *Group) store(p *partition, progress *commit.Progress) (commit.Stored, error) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	at := &g.parts[p.id.Partition]
	switch {
	case at.owner != p || progress.Epoch < at.epoch:
		return commit.Stored{}, fmt.Errorf("memory: commit of %v: epoch %d is not the current owner, the latest epoch is %d: %w",
			p.id, progress.Epoch, at.epoch, commit.ErrFenced)
	case progress.Epoch != p.id.Epoch || progress.Log != p.restored.Log:
		return commit.Stored{}, fmt.Errorf("memory: commit of %v: the progress has epoch %d and log %q: use the epoch and log of Restored",
			p.id, progress.Epoch, progress.Log)
	case progress.Frontier > p.position.Load():
		return commit.Stored{}, fmt.Errorf("memory: commit of %v: the frontier %d is above the position %d",
			p.id, progress.Frontier, p.position.Load())
	}
	if err := p.tenure.Commit(progress.Frontier); err != nil {
		return commit.Stored{}, err
	}
	s, kept := newStored(at.stored, progress, p.source.cfg.CommitLimit)
	at.stored = s
	return kept, nil
}

// release gives up a partition. It fails if the partition is already released.
func (g *Group) release(p *partition) error {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	if err := p.tenure.Release(); err != nil {
		return err
	}
	if p.deadline != nil {
		p.deadline.Stop()
	}
	if at := &g.parts[p.id.Partition]; at.owner == p {
		at.owner = nil
	}
	p.source.letGo(g.log, p.id.Partition)
	g.wakeLocked()
	return nil
}

// wakeLocked wakes Accept of every member.
func (g *Group) wakeLocked() {
	for _, m := range g.members {
		m.wakeUp()
	}
}

func (p *part) storedEpoch() int64 {
	if p.stored == nil {
		return 0
	}
	return p.stored.epoch
}
