package demux

import (
	"context"
	"fmt"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// storePatience is how long the shared reader waits until the store has a new table.
const storePatience = time.Second

// register accepts a table that the shared reader meets for the first time, behind a transaction end. If the store is away, the
// table is behind until the store has it. A nil table belongs to another process.
func (ses *session) register(ctx context.Context, name string, last mark) (*table, error) {
	if ses.s.isLost(name) {
		return nil, nil //nolint:nilnil // as documented
	}
	begin := mark{Number: last.Number, Place: last.Place}
	t := newTable(ses, name, &commit.Progress{Log: ses.logName, Frontier: begin.Number + 1}, begin)
	t.begun = begin.Number
	ses.mu.Lock()
	away := len(ses.fresh) > 0 // a restart must find all tables before this one
	ses.mu.Unlock()
	if !away {
		ctx, cancel := context.WithTimeout(ctx, storePatience)
		defer cancel()
		err := ses.enter(ctx, t)
		if err == nil {
			ses.add(t)
			ses.s.offer(t)
			return t, nil
		}
		if finalOfStore(err) {
			return nil, err
		}
	}
	t.way, t.from, t.dropped, t.since = behind, begin, begin.Number, time.Now()
	ses.add(t)
	ses.mu.Lock()
	defer ses.mu.Unlock()
	ses.fresh = append(ses.fresh, t)
	if len(ses.fresh) == 1 {
		ses.launch(ses.registerAll)
	}
	return t, nil
}

// registerAll accepts the tables that wait for the store, in the order of the log.
func (ses *session) registerAll(ctx context.Context) {
	for {
		ses.mu.Lock()
		t := ses.fresh[0]
		ses.mu.Unlock()
		what := "register " + t.id.Stream
		if err := ses.s.retry(ctx, what, finalOfStore, func(ctx context.Context) error { return ses.enter(ctx, t) }); err != nil {
			ses.s.health.Forget(what)
			ses.stop(err)
			return
		}
		ses.s.offer(t)
		ses.wait(t)
		ses.mu.Lock()
		ses.fresh = ses.fresh[1:]
		left := len(ses.fresh)
		ses.mu.Unlock()
		if left == 0 {
			return
		}
	}
}

// enter makes this process the owner of a new table, and keeps the table and its begin in the store.
func (ses *session) enter(ctx context.Context, t *table) error {
	s, begin := ses.s, t.marks[0]
	p, err := s.cfg.Store.Claim(ctx, t.id.Stream, t.id.Partition, 0)
	if err != nil {
		return fmt.Errorf("claim %s: %w", t.id.Stream, err)
	}
	switch {
	case p.At == "":
		p = &commit.Progress{Log: ses.logName, Epoch: p.Epoch, Frontier: begin.Number + 1, At: begin.text()}
		if err := s.cfg.Store.Save(ctx, t.id.Stream, t.id.Partition, p); err != nil {
			return fmt.Errorf("save the begin of %s: %w", t.id.Stream, err)
		}
	case p.Log == ses.logName: // registered before a crash
		if begin, err = readMark(p.At); err != nil {
			return fmt.Errorf("%s: %w: %w", t.id.Stream, commit.ErrCorrupt, err)
		}
	}
	if err := ses.catalogue.save(ctx, ses.catalogue.now().with(t.name)); err != nil {
		return err
	}
	if p.Log != ses.logName || begin.Unnumbered || begin.Number < t.begun {
		return fmt.Errorf("%w: the store has progress of %s in another count", errCount, t.id.Stream)
	}
	t.restore(p, begin)
	return nil
}
