package middleware

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
)

// If attempts shared a ctx, it would already be canceled when the second attempt starts.
func TestTimeoutGivesEachAttemptTheFullDuration(t *testing.T) {
	for shape := range shapes(nil) {
		t.Run(shape, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				end := shapes(func(ctx context.Context) error {
					if tries++; tries == 3 {
						return nil
					}
					start := time.Now()
					<-ctx.Done()
					if d := time.Since(start); d != time.Second || !errors.Is(context.Cause(ctx), ErrTimeout) {
						t.Errorf("attempt %d: ctx canceled after %v with cause %v, want 1s and ErrTimeout", tries, d, context.Cause(ctx))
					}
					return ctx.Err()
				})[shape]
				chain := keystrand.Chain(end, Retry(RetryPolicy{}), Timeout(time.Second))
				m := &keystrand.Message{}
				for m.Attempt = 1; m.Attempt < 3; m.Attempt++ {
					err := chain(t.Context(), keystrand.NewCall(m))
					if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomeRetry || !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1s") {
						t.Errorf("attempt %d: %v: %v", m.Attempt, o, err)
					}
				}
				if err := chain(t.Context(), keystrand.NewCall(m)); err != nil {
					t.Errorf("attempt 3: %v", err)
				}
			})
		})
	}
}

func TestTimeoutDoesNotChangeOtherResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		if err := turn(t.Context(), returning(failed), Timeout(time.Second), &keystrand.Message{}); err != failed { //nolint:errorlint // the very error
			t.Errorf("failure before the timeout: %v, want it unchanged", err)
		}
		late := func(result error) keystrand.Next {
			return func(ctx context.Context, _ *keystrand.Call) error { <-ctx.Done(); return result }
		}
		if err := turn(t.Context(), late(nil), Timeout(time.Second), &keystrand.Message{}); err != nil {
			t.Errorf("success after the timeout: %v, want nil", err)
		}
		err := turn(t.Context(), late(keystrand.Permanent(failed)), Timeout(time.Second), &keystrand.Message{})
		if o, _ := keystrand.OutcomeOf(err); o != keystrand.OutcomePermanent {
			t.Errorf("permanent failure after the timeout: outcome %v: %v", o, err)
		}
		// I11: the drain ended the ctx, not the timeout.
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(keystrand.ErrStopping) })
		end := func(ctx context.Context, _ *keystrand.Call) error { <-ctx.Done(); return context.Cause(ctx) }
		if err := turn(ctx, end, Timeout(time.Second), &keystrand.Message{}); err != keystrand.ErrStopping { //nolint:errorlint // the very error
			t.Errorf("ctx canceled by the drain: %v, want ErrStopping", err)
		}
	})
}

func TestTimeoutMustBePositive(t *testing.T) {
	for _, d := range []time.Duration{0, -1} {
		if err := mustPanic(t, Timeout(d)); !strings.Contains(err.Error(), "Timeout") {
			t.Error(err)
		}
	}
}
