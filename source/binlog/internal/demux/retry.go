package demux

import (
	"context"
	"errors"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pause"
)

// retry calls do until it succeeds, its error is final, or ctx ends. what names it for people.
func (s *Source) retry(ctx context.Context, what string, final func(error) bool, do func(context.Context) error) error {
	for pauses := newPauses(); ; {
		err := do(ctx)
		switch {
		case err == nil:
			s.health.Works(ctx, what)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case final(err):
			return err
		}
		s.health.Fails(ctx, what, err)
		if err := pause.For(ctx, pauses.NextBackOff()); err != nil {
			return err
		}
	}
}

// finalOfStore reports whether an error of the store does not heal.
func finalOfStore(err error) bool {
	for _, final := range []error{commit.ErrFenced, commit.ErrCorrupt, commit.ErrForeign, commit.ErrVersion, errCount} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// finalOfLog reports whether an error of the log does not heal.
func (s *Source) finalOfLog(err error) bool { return !s.log.Temporary(err) }
