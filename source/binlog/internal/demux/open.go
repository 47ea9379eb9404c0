package demux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand/commit"
)

// stored is what the store has of a table.
type stored struct {
	name     string
	progress *commit.Progress
	begin    mark // its Place is empty if the table is new
}

// open claims all tables and decides where the session begins, and with which numbers. anew begins a new count in any
// case.
//
// Numbers go on if all tables were numbered in the same count of the same log. Otherwise a new count begins above every number
// that is stored. Each table then skips by place, and what it has settled behind its place comes again.
func (s *Source) open(ctx context.Context, anew bool) (*session, error) {
	ses := &session{
		s: s, filter: s.log.Filter(), moved: make(chan struct{}, 1), tables: make(map[string]*table), meeting: make(map[*table]bool),
	}
	err := s.retry(ctx, "identify", s.finalOfLog, func(ctx context.Context) (err error) {
		ses.identity, err = s.log.Identity(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the log's identity: %w", err)
	}
	err = s.retry(ctx, "claim", finalOfStore, func(ctx context.Context) (err error) {
		ses.catalogue, err = claimCatalogue(ctx, s.cfg.Store, s.prefix)
		return err
	})
	if err != nil {
		return nil, err
	}
	existing, names, err := s.names(ctx, ses.catalogue.now())
	if err != nil {
		return nil, err
	}
	all, err := s.claim(ctx, names)
	if err != nil {
		return nil, err
	}
	all, gone := s.forget(ctx, all, existing)
	text, err := s.count(ctx, ses, all, anew)
	if err != nil {
		return nil, err
	}
	ses.logName = text.logName()
	if err := s.place(ctx, ses, all); err != nil {
		return nil, err
	}
	err = s.retry(ctx, "claim", finalOfStore, func(ctx context.Context) error {
		return ses.catalogue.save(ctx, text.with(names...).without(gone...))
	})
	if err != nil {
		return nil, err
	}
	s.logOpened(ctx, ses)
	s.offer(ses.order...)
	return ses, nil
}

// names returns the tables that exist, and all wanted ones, sorted: those that were accepted before and those that exist. It
// leaves out those that this process has lost.
func (s *Source) names(ctx context.Context, text catalogueText) (existing, names []string, err error) {
	err = s.retry(ctx, "list tables", s.finalOfLog, func(ctx context.Context) error {
		existing, err = s.log.Tables(ctx)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list the tables: %w", err)
	}
	names = append(slices.Clone(existing), text.Tables...)
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(n string) bool { return !s.log.Wanted(n) || s.isLost(n) })
	return existing, names, nil
}

// forget leaves out tables that do not exist and have no progress, because somebody has deleted it. It returns their names, too.
func (s *Source) forget(ctx context.Context, all []stored, existing []string) (left []stored, gone []string) {
	for _, t := range all {
		if t.begin.Place != "" || slices.Contains(existing, t.name) {
			left = append(left, t)
			continue
		}
		gone = append(gone, t.name)
		//nolint:sloglint // the name of the package
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, s.cfg.Package+": forgetting a table: it does not exist and has no progress",
			slog.String("table", s.prefix+t.name))
	}
	return left, gone
}

// claim makes this process the owner of tables, and returns what the store has of them.
func (s *Source) claim(ctx context.Context, names []string) ([]stored, error) {
	all := make([]stored, len(names))
	for i, name := range names {
		all[i].name = name
	}
	err := s.forEach(ctx, "claim", all, func(ctx context.Context, t *stored) error {
		p, err := s.cfg.Store.Claim(ctx, s.prefix+t.name, 0, 0)
		if err != nil {
			return fmt.Errorf("claim %s%s: %w", s.prefix, t.name, err)
		}
		t.progress, t.begin = p, mark{}
		if p.At != "" {
			if t.begin, err = readMark(p.At); err != nil {
				return fmt.Errorf("progress of %s%s: %w: %w", s.prefix, t.name, commit.ErrCorrupt, err)
			}
		}
		return nil
	})
	return all, err
}

// forEach calls do for all tables, for many at once, since a store can gather them. It retries as the store allows.
func (s *Source) forEach(ctx context.Context, what string, all []stored, do func(context.Context, *stored) error) error {
	const atOnce = 64
	var (
		group sync.WaitGroup
		slots = make(chan struct{}, atOnce)
		errs  = make([]error, len(all))
	)
	for i := range all {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = s.retry(ctx, what, finalOfStore, func(ctx context.Context) error { return do(ctx, &all[i]) })
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// count decides about the numbers, and returns the new text of the catalogue. It sets ses.start unless the numbers go on.
func (s *Source) count(ctx context.Context, ses *session, all []stored, anew bool) (catalogueText, error) {
	text := ses.catalogue.now()
	begun := text.Begin != ""
	highest := text.Base
	var places []Place
	for _, t := range all {
		highest = max(highest, t.progress.Frontier, t.begin.Number)
		if n := len(t.progress.Ahead); n > 0 {
			highest = max(highest, t.progress.Ahead[n-1].To)
		}
		if t.begin.Place == "" {
			continue
		}
		places = append(places, t.begin.Place)
		anew = anew || t.begin.Unnumbered || t.progress.Log != text.logName()
	}
	if begun && !anew && text.Identity == ses.identity {
		return text, nil
	}
	next := catalogueText{Identity: ses.identity, Begin: text.Begin, Tables: text.Tables}
	if begun || len(places) > 0 {
		next.Base = highest + 1
	}
	err := s.retry(ctx, "find the start", s.finalOfLog, func(ctx context.Context) (err error) {
		switch {
		case len(places) > 0:
			next.Begin, err = s.log.Lowest(places...)
		case !begun:
			next.Begin, err = s.log.Start(ctx)
		}
		return err
	})
	if err != nil {
		return next, fmt.Errorf("find the place to begin: %w", err)
	}
	if begun {
		//nolint:sloglint // the name of the package
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, s.cfg.Package+": counting rows anew; each table continues at its own place",
			slog.String("before", text.logName()), slog.String("now", next.logName()))
	}
	ses.start = mark{Number: next.Base, Place: next.Begin}
	return next, nil
}

// place makes the tables of a session, and decides where the shared reader begins. It saves the begin of new tables.
func (s *Source) place(ctx context.Context, ses *session, all []stored) error {
	if ses.start.Place == "" {
		ses.start = s.startAmong(ses, all)
	}
	ses.last = ses.start
	ses.met.Store(ses.start.Number)
	var fresh []stored
	for i := range all {
		t := &all[i]
		begin, p := t.begin, t.progress
		switch {
		case begin.Place == "":
			begin = ses.start
			p = &commit.Progress{Log: ses.logName, Epoch: p.Epoch, Frontier: begin.Number + 1, At: begin.text()}
			fresh = append(fresh, stored{t.name, p, begin})
		case p.Log != ses.logName || begin.Unnumbered:
			passed, err := s.log.Reached(ses.start.Place, begin.Place)
			if err != nil {
				return fmt.Errorf("compare places of %s%s: %w", s.prefix, t.name, err)
			}
			begin.Number, begin.Unnumbered = ses.start.Number, !passed
			if begin.Part.Filter != ses.filter {
				begin.Part = part{}
			}
			p = &commit.Progress{Log: ses.logName, Epoch: p.Epoch, Frontier: begin.Number + 1}
		}
		tb := newTable(ses, t.name, p, begin)
		if begin.Number < ses.start.Number {
			tb.way, tb.from, tb.dropped, tb.since = behind, begin, ses.start.Number, time.Now()
			ses.waiting = append(ses.waiting, tb)
		}
		ses.add(tb)
	}
	return s.forEach(ctx, "claim", fresh, func(ctx context.Context, t *stored) error {
		if err := s.cfg.Store.Save(ctx, s.prefix+t.name, 0, t.progress); err != nil {
			return fmt.Errorf("save the begin of %s%s: %w", s.prefix, t.name, err)
		}
		return nil
	})
}

// startAmong returns the place where the shared reader begins if the numbers go on, and collects the known ones. Tables far
// below most others do not count: they are read apart.
func (s *Source) startAmong(ses *session, all []stored) mark {
	for _, t := range all {
		if t.begin.Place != "" {
			ses.known = append(ses.known, mark{Number: t.begin.Number, Place: t.begin.Place})
		}
	}
	text := ses.catalogue.now()
	if len(ses.known) == 0 {
		return mark{Number: text.Base, Place: text.Begin}
	}
	slices.SortFunc(ses.known, func(a, b mark) int { return int(min(1, max(-1, a.Number-b.Number))) })
	most := ses.known[len(ses.known)/2].Number - s.cfg.far
	i := slices.IndexFunc(ses.known, func(m mark) bool { return m.Number >= most })
	ses.known = slices.Clip(ses.known)
	return ses.known[i]
}
