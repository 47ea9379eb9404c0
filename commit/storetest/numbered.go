package storetest

import (
	"context"
	"fmt"
	"io"

	"github.com/keystrand/keystrand/commit"
)

// SaveNumbered claims partition 0 of a stream and saves progress with the frontiers that follow the restored one, until a call
// fails. After each Save it writes a line to w. It is for the process that [Env].Kill kills.
func SaveNumbered(ctx context.Context, s commit.Store, stream string, w io.Writer) error {
	p, err := s.Claim(ctx, stream, 0, 0)
	if err != nil {
		return err
	}
	for frontier := p.Frontier + 1; ; frontier++ {
		if err := s.Save(ctx, stream, 0, progress(p.Epoch, frontier)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, frontier); err != nil {
			return err
		}
	}
}

func killedInSave(ctx context.Context, env *Env) error {
	if env.Kill == nil {
		return fmt.Errorf("%w: needs Env.Kill", ErrNotTested)
	}
	p, err := env.process()
	if err != nil {
		return err
	}
	saved := int64(0)
	for round := range 5 {
		n, err := env.Kill(ctx, 3*round+1)
		if err != nil {
			return err
		}
		got, err := p.claim(ctx, 0)
		if err != nil {
			return fmt.Errorf("after a kill: %w", err)
		}
		saved += int64(n)
		// The Save under way is stored, or it is not.
		if got.Frontier != saved && got.Frontier != saved+1 {
			return fmt.Errorf("frontier is %d after a kill, want %d, or 1 more", got.Frontier, saved)
		}
		if want := progress(got.Epoch, got.Frontier); textOf(got) != textOf(want) {
			return fmt.Errorf("progress after a kill is %+v, want %+v", *got, *want)
		}
		saved = got.Frontier
	}
	return nil
}
