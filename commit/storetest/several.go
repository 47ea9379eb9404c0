package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/commit"
)

func processesShareTheStore(ctx context.Context, env *Env) error {
	a, err := env.process()
	if err != nil {
		return err
	}
	epoch, err := a.claims(ctx, &commit.Progress{})
	if err != nil {
		return err
	}
	if err := a.save(ctx, progress(epoch, 1)); err != nil {
		return err
	}
	b, err := env.process()
	if err != nil {
		return err
	}
	next, err := b.claims(ctx, progress(0, 1))
	if err != nil {
		return fmt.Errorf("in another process: %w", err)
	}
	if next <= epoch {
		return fmt.Errorf("epoch %d of another process follows epoch %d", next, epoch)
	}
	if err := a.refused(ctx, "save in the process of the older owner", progress(epoch, 2)); err != nil {
		return err
	}
	if err := b.save(ctx, progress(next, 3)); err != nil {
		return err
	}
	_, err = a.claims(ctx, progress(0, 3))
	return err
}

// savesAtOnce saves many partitions again and again. Every tenth has a former owner.
func savesAtOnce(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	const partitions, rounds = 40, 5
	epochs := make([]int64, partitions)
	for i := range epochs {
		if epochs[i], err = p.at(env.Stream, int32(i)).claims(ctx, &commit.Progress{}); err != nil {
			return err
		}
	}
	former := func(i int) bool { return i%10 == 3 }
	for i := range epochs {
		if former(i) {
			if _, err := p.at(env.Stream, int32(i)).claims(ctx, &commit.Progress{}); err != nil {
				return err
			}
		}
	}
	frontier := func(i, round int) int64 { return int64(1 + i + round*partitions) }
	for round := range rounds {
		errs := atOnce(partitions, func(i int) error {
			p := p.at(env.Stream, int32(i))
			if former(i) {
				return p.refused(ctx, "save by an older owner, beside others", progress(epochs[i], frontier(i, round)))
			}
			return p.save(ctx, progress(epochs[i], frontier(i, round)))
		})
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("%d saves at once: %w", partitions, err)
		}
	}
	for i := range epochs {
		want := progress(0, frontier(i, rounds-1))
		if former(i) {
			want = &commit.Progress{}
		}
		if _, err := p.at(env.Stream, int32(i)).claims(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

// claimsAtOnce claims one partition in several processes.
func claimsAtOnce(ctx context.Context, env *Env) error {
	const processes, claims = 6, 4
	var all [processes]process
	for i := range all {
		var err error
		if all[i], err = env.process(); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	owner := make(map[int64]int) // by epoch
	last := int64(0)
	errs := atOnce(processes, func(i int) error {
		for range claims {
			got, err := all[i].claim(ctx, 0)
			if err != nil {
				return err
			}
			mu.Lock()
			other, there := owner[got.Epoch]
			owner[got.Epoch], last = i, max(last, got.Epoch)
			mu.Unlock()
			if there {
				return fmt.Errorf("the processes %d and %d have both claimed epoch %d", other, i, got.Epoch)
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for epoch, i := range owner {
		if epoch == last {
			continue
		}
		if err := all[i].refused(ctx, "save by an older owner, after claims at once", progress(epoch, epoch)); err != nil {
			return err
		}
	}
	return all[owner[last]].save(ctx, progress(last, 1))
}

// claimSeesTheLastSave claims a partition while its owner saves, again and again.
func claimSeesTheLastSave(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	owner, err := p.claim(ctx, 0)
	if err != nil {
		return err
	}
	for round := range 20 {
		next, err := env.process()
		if err != nil {
			return err
		}
		got, saved, err := p.overtaken(ctx, owner, next)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if got.Frontier != saved || textOf(got) != textOf(progress(got.Epoch, saved)) {
			return fmt.Errorf("round %d: claim returned %+v, and the last save that succeeded has the frontier %d", round, *got, saved)
		}
		again, err := next.claim(ctx, 0)
		if err != nil {
			return err
		}
		if again.Frontier != got.Frontier {
			return fmt.Errorf("round %d: frontier %d was stored behind a claim that had returned %d", round, again.Frontier, got.Frontier)
		}
		p, owner = next, again
	}
	return nil
}

// overtaken saves until another process has claimed the partition. It returns what was claimed, and the last frontier whose Save
// has succeeded.
func (p process) overtaken(ctx context.Context, owner *commit.Progress, next process) (got *commit.Progress, saved int64, err error) {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	first := make(chan error, 1)
	var claimed atomic.Bool // by the other process
	var ended error         // why the owner saves no more
	var saving sync.WaitGroup
	saving.Go(func() {
		for saved = owner.Frontier + 1; ; saved++ {
			late := claimed.Load()
			ended = p.save(running, progress(owner.Epoch, saved))
			if saved == owner.Frontier+1 {
				first <- ended
			}
			if ended != nil {
				saved--
				return
			}
			if late {
				return
			}
		}
	})
	if err = <-first; err == nil {
		got, err = next.claim(ctx, 0)
	}
	if err != nil {
		cancel()
	}
	claimed.Store(true)
	saving.Wait()
	if err == nil && !errors.Is(ended, commit.ErrFenced) {
		err = fmt.Errorf("save after a claim: got the error %w, want one that wraps commit.ErrFenced", nonNil(ended))
	}
	return got, saved, err
}

func endedContextEndsCalls(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	owner, err := p.claim(ctx, 0)
	if err != nil {
		return err
	}
	if err := p.save(ctx, progress(owner.Epoch, 1)); err != nil {
		return err
	}
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errEnded)
	if _, err := p.cut(ended, env, progress(owner.Epoch, 2)); err != nil {
		return err
	}
	return p.inOrder(ctx, 2)
}

func callsEndWhileItStalls(ctx context.Context, env *Env) error {
	if env.Stall == nil {
		return fmt.Errorf("%w: needs Env.Stall", ErrNotTested)
	}
	p, err := env.process()
	if err != nil {
		return err
	}
	owner, err := p.claim(ctx, 0)
	if err != nil {
		return err
	}
	for frontier := range int64(3) {
		if err := p.save(ctx, progress(owner.Epoch, 2*frontier)); err != nil {
			return err
		}
		resume, err := env.Stall()
		if err != nil {
			return err
		}
		cutting, cancel := context.WithTimeoutCause(ctx, 300*time.Millisecond, errEnded)
		stored, err := p.cut(cutting, env, progress(owner.Epoch, 2*frontier+1))
		cancel()
		resume()
		if err != nil {
			return err
		}
		if stored {
			return errors.New("a save succeeded though the store did not answer")
		}
		if err := p.inOrder(ctx, 2*frontier+1); err != nil {
			return err
		}
		if owner, err = p.claim(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// cut saves a progress and claims another partition, with a ctx that ends. It returns an error if a call does not return, and
// reports whether the Save has succeeded.
func (p process) cut(ctx context.Context, env *Env, g *commit.Progress) (stored bool, err error) {
	saved, claimed := make(chan error, 1), make(chan struct{})
	go func() { saved <- p.save(ctx, g) }()
	go func() {
		defer close(claimed)
		_, _ = p.at(env.Stream, 1).claim(ctx, 0) // its outcome is unknown
	}()
	<-ctx.Done()
	bound := time.NewTimer(env.Wait)
	defer bound.Stop()
	for range 2 {
		select {
		case err = <-saved:
			saved = nil
		case <-claimed:
			claimed = nil
		case <-bound.C:
			return false, fmt.Errorf("a call has not returned %v after the end of its ctx", env.Wait)
		}
	}
	if errors.Is(err, commit.ErrFenced) { // nobody has claimed the partition
		return false, err
	}
	return err == nil, nil
}

// inOrder returns an error unless the partition has the progress of a Save that was cut, or the one before it, and can be saved.
func (p process) inOrder(ctx context.Context, cut int64) error {
	got, err := p.claim(ctx, 0)
	if err != nil {
		return err
	}
	if f := got.Frontier; f != cut && f != cut-1 || textOf(got) != textOf(progress(got.Epoch, f)) {
		return fmt.Errorf("claim after a save that was cut returned %+v, want the frontier %d or %d", *got, cut-1, cut)
	}
	return p.save(ctx, progress(got.Epoch, got.Frontier))
}

// atOnce calls f with 0 to n-1 at the same time, and returns the errors.
func atOnce(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errs
}

var errEnded = errors.New("storetest: the test ended this ctx")
