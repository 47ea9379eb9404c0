package spilltest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/middleware/spill/spilltest"
)

func TestCaseWithoutKillIsNotTested(t *testing.T) {
	for _, c := range spilltest.Cases() {
		s := memory.New()
		err := c.Run(t.Context(), &spilltest.Env{Open: func() (spill.Store, error) { return s, nil }})
		if errors.Is(err, spilltest.ErrNotTested) != (c.Name == "KilledInAppend") {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}

// broken is a store in memory that breaks one clause. Each hook may change what the store gets or returns.
type broken struct {
	spill.Store

	open   func(l spill.Log, o *spill.Owner, strands []spill.Strand) []spill.Strand
	owner  func(o *spill.Owner)
	append func(ctx context.Context, l spill.Log, rs []spill.Record) error
	read   func(ctx context.Context, l spill.Log, key string, after int64, limit spill.Size) ([]keystrand.Message, error)
	save   func(ctx context.Context, l spill.Log, ms []spill.Mark) error
}

func (b broken) Open(ctx context.Context, o spill.Owner) (spill.Log, []spill.Strand, error) {
	if b.owner != nil {
		b.owner(&o)
	}
	l, strands, err := b.Store.Open(ctx, o)
	if err == nil && b.open != nil {
		strands = b.open(l, &o, strands)
	}
	return brokenLog{l, b}, strands, err
}

type brokenLog struct {
	spill.Log

	b broken
}

func (l brokenLog) Append(ctx context.Context, rs []spill.Record) error {
	if l.b.append == nil {
		return l.Log.Append(ctx, rs)
	}
	return l.b.append(ctx, l.Log, rs)
}

func (l brokenLog) Read(ctx context.Context, key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
	if l.b.read == nil {
		return l.Log.Read(ctx, key, after, limit)
	}
	return l.b.read(ctx, l.Log, key, after, limit)
}

func (l brokenLog) Save(ctx context.Context, ms []spill.Mark) error {
	if l.b.save == nil {
		return l.Log.Save(ctx, ms)
	}
	return l.b.save(ctx, l.Log, ms)
}

func eachStrand(change func(s *spill.Strand)) func(spill.Log, *spill.Owner, []spill.Strand) []spill.Strand {
	return func(_ spill.Log, _ *spill.Owner, all []spill.Strand) []spill.Strand {
		for i := range all {
			change(&all[i])
		}
		return all
	}
}

func eachRecord(change func(r *spill.Record)) func(context.Context, spill.Log, []spill.Record) error {
	return func(ctx context.Context, l spill.Log, rs []spill.Record) error {
		rs = slices.Clone(rs)
		for i := range rs {
			change(&rs[i])
		}
		return l.Append(ctx, rs)
	}
}

func eachMessage(change func(m *keystrand.Message)) func(context.Context, spill.Log, string, int64, spill.Size) ([]keystrand.Message, error) {
	return func(ctx context.Context, l spill.Log, key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
		ms, err := l.Read(ctx, key, after, limit)
		for i := range ms {
			change(&ms[i])
		}
		return ms, err
	}
}

func eachMark(change func(m *spill.Mark)) func(context.Context, spill.Log, []spill.Mark) error {
	return func(ctx context.Context, l spill.Log, ms []spill.Mark) error {
		ms = slices.Clone(ms)
		for i := range ms {
			change(&ms[i])
		}
		return l.Save(ctx, ms)
	}
}

// Every clause is broken once, and its case fails.
func TestBrokenStoresFail(t *testing.T) {
	for name, c := range map[string]struct {
		store broken
		fails string
	}{
		"the last record is not stored": {broken{append: func(ctx context.Context, l spill.Log, rs []spill.Record) error {
			return l.Append(ctx, rs[:max(0, len(rs)-1)])
		}}, "AppendedIsRead"},
		"empty values become nil": {broken{read: eachMessage(func(m *keystrand.Message) {
			if len(m.Value) == 0 {
				m.Value = nil
			}
		})}, "EverythingIsKept"},
		"the fetch time is lost":   {broken{read: eachMessage(func(m *keystrand.Message) { m.Fetched = m.Time })}, "EverythingIsKept"},
		"the epoch is an old one":  {broken{read: eachMessage(func(m *keystrand.Message) { m.Epoch = 1 })}, "EverythingIsKept"},
		"headers are lost":         {broken{read: eachMessage(func(m *keystrand.Message) { m.Headers = nil })}, "EverythingIsKept"},
		"rows are lost":            {broken{append: eachRecord(func(r *spill.Record) { r.Message.Native = nil })}, "RowsAreKeptAsBytes"},
		"messages are shared":      {broken{read: shared()}, "MessagesBelongToTheCaller"},
		"keys are cut":             {broken{append: eachRecord(func(r *spill.Record) { r.Key = r.Key[:min(len(r.Key), 1024)] })}, "KeysOfAnyBytes"},
		"in the order of appends":  {broken{read: reversed}, "SmallerOffsetComesFirst"},
		"there twice":              {broken{open: eachStrand(func(s *spill.Strand) { s.Records++ })}, "AppendTwiceIsOnce"},
		"held again":               {broken{append: holdAgain}, "AppendAgainHoldsNothing"},
		"errors are not there":     {broken{append: swallow}, "RefusedRecordIsNamed"},
		"windows have no end":      {broken{read: unlimited}, "WindowsBySize"},
		"a large message is left":  {broken{read: leaveLarge}, "WindowsBySize"},
		"bytes are not counted":    {broken{open: eachStrand(func(s *spill.Strand) { s.Bytes = 0 })}, "StrandsAreCounted"},
		"no time":                  {broken{open: eachStrand(func(s *spill.Strand) { s.Since = time.Time{} })}, "StrandsAreCounted"},
		"marks are lost":           {broken{open: eachStrand(func(s *spill.Strand) { s.Mark = -1 })}, "MarksGoForwardOnly"},
		"marks are not saved":      {broken{save: eachMark(func(m *spill.Mark) { m.Through = -1 })}, "BelowTheMarkIsNothing"},
		"empty strands are hidden": {broken{open: withRecords}, "EmptyStrandKeepsItsMark"},
		"removed ones stay":        {broken{save: eachMark(func(m *spill.Mark) { m.Change = spill.Keep })}, "RemovedIsGone"},
		"remove takes all": {broken{save: eachMark(func(m *spill.Mark) {
			if m.Change == spill.Remove {
				m.Through = 1 << 60
			}
		})}, "RemoveRefusesRecordsLeft"},
		"held is forgotten":        {broken{open: eachStrand(func(s *spill.Strand) { s.Held = false })}, "HeldOutlivesRestart"},
		"every epoch is the first": {broken{owner: func(o *spill.Owner) { o.Epoch = 1 }}, "OlderEpochIsRefused"},
		"fenced is another error":  {broken{append: hideFenced}, "OlderEpochIsRefused"},
		"logs are all one":         {broken{owner: func(o *spill.Owner) { o.Log = "" }}, "ForeignLog"},
		"partitions are one":       {broken{owner: func(o *spill.Owner) { o.Partition = 0 }}, "PartitionsAreApart"},
		"ctx is ignored": {broken{append: func(ctx context.Context, l spill.Log, rs []spill.Record) error {
			return l.Append(context.WithoutCancel(ctx), rs)
		}}, "EndedContextEndsCalls"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, each := range spilltest.Cases() {
				if each.Name != c.fails {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					b := c.store
					b.Store = memory.New()
					if err := each.Run(t.Context(), &spilltest.Env{Open: func() (spill.Store, error) { return b, nil }}); err == nil {
						t.Errorf("%s passed", each.Name)
					}
				})
				return
			}
			t.Errorf("there is no case %s", c.fails)
		})
	}
}

func reversed(ctx context.Context, l spill.Log, key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
	ms, err := l.Read(ctx, key, after, limit)
	slices.Reverse(ms)
	return ms, err
}

// shared returns the same messages to every Read.
func shared() func(context.Context, spill.Log, string, int64, spill.Size) ([]keystrand.Message, error) {
	var kept []keystrand.Message
	return func(ctx context.Context, l spill.Log, key string, after int64, limit spill.Size) (_ []keystrand.Message, err error) {
		if kept == nil {
			kept, err = l.Read(ctx, key, after, limit)
		}
		return kept, err
	}
}

func unlimited(ctx context.Context, l spill.Log, key string, after int64, _ spill.Size) ([]keystrand.Message, error) {
	return l.Read(ctx, key, after, spill.Size{})
}

func leaveLarge(ctx context.Context, l spill.Log, key string, after int64, limit spill.Size) ([]keystrand.Message, error) {
	ms, err := l.Read(ctx, key, after, limit)
	if len(ms) > 0 && limit.Bytes > 0 && ms[0].Size() > limit.Bytes {
		return nil, nil
	}
	return ms, err
}

func holdAgain(ctx context.Context, l spill.Log, rs []spill.Record) error {
	err := l.Append(ctx, rs)
	for i := range rs {
		if rs[i].Hold {
			err = errors.Join(err, l.Save(ctx, []spill.Mark{{Key: rs[i].Key, Through: -1, Change: spill.Hold}}))
		}
	}
	return err
}

func swallow(ctx context.Context, l spill.Log, rs []spill.Record) error {
	_ = l.Append(ctx, rs)
	return nil
}

func hideFenced(ctx context.Context, l spill.Log, rs []spill.Record) error {
	err := l.Append(ctx, rs)
	if errors.Is(err, commit.ErrFenced) {
		return errors.New("another error")
	}
	return err
}

func withRecords(_ spill.Log, _ *spill.Owner, all []spill.Strand) []spill.Strand {
	return slices.DeleteFunc(all, func(s spill.Strand) bool { return s.Records == 0 })
}
