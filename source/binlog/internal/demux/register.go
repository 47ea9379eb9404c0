package demux

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand/commit"
)

// register accepts a table that the shared reader meets for the first time, behind a transaction end. It returns once the store
// has it, since no other table may be committed past rows that a restart would not find. A nil table belongs to another process.
func (ses *session) register(ctx context.Context, name string, last mark) (*table, error) {
	s := ses.s
	if s.isLost(name) {
		return nil, nil //nolint:nilnil // as documented
	}
	var t *table
	err := s.retry(ctx, "register "+s.prefix+name, finalOfStore, func(ctx context.Context) error {
		p, err := s.cfg.Store.Claim(ctx, s.prefix+name, 0, 0)
		if err != nil {
			return fmt.Errorf("claim %s%s: %w", s.prefix, name, err)
		}
		begin := last
		switch {
		case p.At == "":
			begin.State = ""
			p = &commit.Progress{Log: ses.logName, Epoch: p.Epoch, Frontier: last.Number + 1, At: begin.text()}
			if err := s.cfg.Store.Save(ctx, s.prefix+name, 0, p); err != nil {
				return fmt.Errorf("save the begin of %s%s: %w", s.prefix, name, err)
			}
		case p.Log == ses.logName: // registered before a crash
			if begin, err = readMark(p.At); err != nil {
				return fmt.Errorf("%s%s: %w: %w", s.prefix, name, commit.ErrCorrupt, err)
			}
		}
		if err := ses.catalogue.save(ctx, ses.catalogue.now().with(name)); err != nil {
			return err
		}
		if p.Log != ses.logName || begin.Unnumbered || begin.Number < last.Number {
			return fmt.Errorf("%w: the store has progress of %s%s in another count", errCount, s.prefix, name)
		}
		t = newTable(ses, name, p, begin)
		return nil
	})
	if err != nil {
		return nil, err
	}
	ses.add(t)
	s.offer(t)
	return t, nil
}
