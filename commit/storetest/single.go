package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/keystrand/keystrand/commit"
)

func firstClaimIsEmpty(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	epoch, err := p.claims(ctx, &commit.Progress{})
	if err != nil {
		return err
	}
	if epoch < 1 {
		return fmt.Errorf("claim with epoch 0 returned the epoch %d, which is not greater than none", epoch)
	}
	got, err := p.at(env.Stream, 1).claim(ctx, 7)
	if err == nil && (got.Epoch < 7 || got.Frontier != 0) {
		err = fmt.Errorf("claim with epoch 7 returned %+v", *got)
	}
	return err
}

func savedIsClaimed(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	many := &commit.Progress{Log: strings.Repeat("log \x00\xff", 100), Frontier: 5}
	for i := range int64(20_000) { // about 40 KB as a text
		many.Ahead = append(many.Ahead, commit.Range{From: 10 + 13*i, To: 11 + 13*i + i%11})
	}
	for what, want := range map[string]*commit.Progress{
		"frontier alone":       {Frontier: 42},
		"log":                  {Log: "orders#1", Frontier: 42},
		"ranges":               {Log: "orders#1", Frontier: 42, Ahead: []commit.Range{{From: 50, To: 60}, {From: 70, To: 71}}},
		"place":                {Log: "orders#1", Frontier: 42, At: "0-1-270,0-2-\x00\xff"},
		"20,000 ranges":        many,
		"the largest offsets":  {Frontier: math.MaxInt64 - 10, Ahead: []commit.Range{{From: math.MaxInt64 - 5, To: math.MaxInt64}}},
		"the smallest offsets": {Frontier: math.MinInt64, Ahead: []commit.Range{{From: math.MinInt64 + 5, To: -1}}},
		"nothing":              {},
	} {
		got, err := p.claim(ctx, 0)
		if err != nil {
			return err
		}
		want.Epoch = got.Epoch
		if err := p.save(ctx, want); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if _, err := p.claims(ctx, want); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func lastSaveCounts(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	got, err := p.claim(ctx, 1)
	if err != nil {
		return err
	}
	for _, frontier := range []int64{10, 20, 20, 0, 5} {
		if err := p.save(ctx, progress(got.Epoch, frontier)); err != nil {
			return err
		}
	}
	_, err = p.claims(ctx, progress(0, 5))
	return err
}

func claimKeepsProgress(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	got, err := p.claim(ctx, 1)
	if err != nil {
		return err
	}
	if err := p.save(ctx, progress(got.Epoch, 7)); err != nil {
		return err
	}
	for range 3 {
		if _, err := p.claims(ctx, progress(0, 7)); err != nil {
			return err
		}
	}
	return nil
}

func epochsGrow(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	last := int64(0)
	for _, asked := range []int64{0, 0, 5, 5, 3, -8, 1 << 50, 0, 1 << 49} {
		got, err := p.claim(ctx, asked)
		if err != nil {
			return err
		}
		if got.Epoch < asked || got.Epoch <= last {
			return fmt.Errorf("claim with epoch %d after epoch %d returned the epoch %d", asked, last, got.Epoch)
		}
		last = got.Epoch
		if err := p.save(ctx, progress(last, 1)); err != nil {
			return err
		}
	}
	return nil
}

func olderEpochIsRefused(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	old, err := p.claim(ctx, 1)
	if err != nil {
		return err
	}
	if err := p.save(ctx, progress(old.Epoch, 1)); err != nil {
		return err
	}
	last, err := p.claims(ctx, progress(0, 1))
	if err != nil {
		return err
	}
	if err := p.refused(ctx, "save by an older owner", progress(old.Epoch, 2)); err != nil {
		return err
	}
	if err := p.save(ctx, progress(last, 3)); err != nil {
		return err
	}
	if err := p.refused(ctx, "save by an older owner, after one of the new owner", progress(old.Epoch, 4)); err != nil {
		return err
	}
	_, err = p.claims(ctx, progress(0, 3))
	return err
}

func onlyTheClaimedEpochSaves(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	if err := p.refused(ctx, "save of a partition that nobody has claimed", progress(1, 1)); err != nil {
		return err
	}
	epoch, err := p.claims(ctx, &commit.Progress{})
	if err != nil {
		return err
	}
	if err := p.refused(ctx, "save with an epoch that is not claimed yet", progress(epoch+1, 2)); err != nil {
		return err
	}
	_, err = p.claims(ctx, &commit.Progress{})
	return err
}

func claimedDoesNotChange(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	var claimed []*commit.Progress
	var texts []string
	for i := range int64(4) {
		got, err := p.claim(ctx, 0)
		if err != nil {
			return err
		}
		claimed, texts = append(claimed, got), append(texts, textOf(got))
		if err := p.save(ctx, progress(got.Epoch, i)); err != nil {
			return err
		}
	}
	for i, got := range claimed {
		if textOf(got) != texts[i] {
			return fmt.Errorf("what claim %d had returned is now %+v", i, *got)
		}
	}
	return nil
}

func partitionsAreApart(ctx context.Context, env *Env) error {
	p, err := env.process()
	if err != nil {
		return err
	}
	var all []process
	for _, stream := range []string{
		"a", "A", "a ", " a", "a\x00", "\xff\xfe", "", "ä", "a\u0308", "a1", "1", "a/1", `a'"\`, "a%", "a_",
		strings.Repeat("s", 4000), strings.Repeat("s", 3999) + "t",
	} {
		for _, partition := range []int32{0, 1, 11, 1 << 16, math.MaxInt32} {
			all = append(all, p.at(stream, partition))
		}
	}
	epochs := make([]int64, len(all))
	for i, p := range all {
		if epochs[i], err = p.claims(ctx, &commit.Progress{}); err != nil {
			return fmt.Errorf("of a partition that nobody has saved: %w", err)
		}
		if err := p.save(ctx, progress(epochs[i], int64(i))); err != nil {
			return err
		}
	}
	var errs []error
	for i, p := range all {
		_, err := p.claims(ctx, progress(0, int64(i)))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
