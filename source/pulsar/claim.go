package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand/commit"
)

// cluster names the brokers, for the progress in a store: positions of one cluster mean nothing in another.
func (s *Source) cluster() string {
	if s.cfg.Cluster != "" {
		return s.cfg.Cluster
	}
	_, hosts, _ := strings.Cut(s.url, "://")
	hosts, _, _ = strings.Cut(hosts, "/")
	all := strings.Split(strings.ToLower(hosts), ",")
	slices.Sort(all)
	return strings.Join(all, ",")
}

// claim makes us the owner of the partition in the store, and returns the progress to begin with. Without a store there is
// nothing but an epoch.
func (c *contender) claim(ctx context.Context, cons attached) (*commit.Progress, error) {
	if c.s.cfg.Store == nil {
		return &commit.Progress{Epoch: c.s.nextEpoch()}, nil
	}
	return whileLocked(ctx, c, cons.breaks, func(ctx context.Context) (*commit.Progress, error) {
		claimed, err := c.claimStored(ctx)
		if err != nil {
			return nil, err
		}
		return c.trusted(ctx, cons.consumer, claimed)
	})
}

func (c *contender) claimStored(ctx context.Context) (*commit.Progress, error) {
	s := c.s
	claimed, err := s.cfg.Store.Claim(ctx, c.stream, c.number, s.nextEpoch())
	if err != nil {
		return nil, fmt.Errorf("claim in Config.Store: %w", err)
	}
	s.claimed(claimed.Epoch)
	return claimed, nil
}

// restart makes the progress in the store say nothing about the log, before the subscription is moved in it: what is below
// the frontier is to come again, or what is above is not. Should we end in between, the subscription's acknowledgements count.
func (c *contender) restart(ctx context.Context, breaks int) error {
	_, err := whileLocked(ctx, c, breaks, func(ctx context.Context) (struct{}, error) {
		claimed, err := c.claimStored(ctx)
		if err == nil {
			_, err = c.forget(ctx, claimed.Epoch)
		}
		return struct{}{}, err
	})
	return err
}

// forget stores that nothing of the log is settled as far as the store knows, and returns that.
func (c *contender) forget(ctx context.Context, epoch int64) (*commit.Progress, error) {
	nothing := &commit.Progress{Log: c.s.cluster(), Epoch: epoch}
	if err := c.s.cfg.Store.Save(ctx, c.stream, c.number, nothing); err != nil {
		return nil, fmt.Errorf("drop the progress in Config.Store: %w", err)
	}
	return nothing, nil
}

// What is done with the lock taken, before an ownership begins.
const (
	claiming = "claim"
	seeking  = "seek"
)

// begun tells how a step of that has ended, and waits if it failed. It reports whether to go on.
func (c *contender) begun(ctx context.Context, step string, err error) bool {
	s, what := c.s, step+" "+c.name()
	switch {
	case err == nil:
		c.faults.Reset()
		s.health.Works(ctx, what)
		return true
	case ctx.Err() == nil && !errors.Is(err, errNotOurs) && !s.over():
		s.health.Fails(ctx, what, fmt.Errorf("subscription %q: %w", s.subscription, err))
		sleep(ctx, c.faults.NextBackOff())
	}
	return false
}

// untroubled notes that the partition is not ours to begin with.
func (c *contender) untroubled() {
	for _, step := range []string{claiming, seeking} {
		c.s.health.Forget(step + " " + c.name())
	}
}

// trusted returns what the store has, if it is about this log: what is settled by it is not handed out, and acknowledged
// unseen. Else it begins where the subscription stands, which costs replays at most. What ends behind the log is dropped at
// once: the log grows.
func (c *contender) trusted(ctx context.Context, cons consumer, stored *commit.Progress) (*commit.Progress, error) {
	s := c.s
	own := s.cluster()
	nothing := &commit.Progress{Log: own, Epoch: stored.Epoch}
	above := stored.Frontier
	if n := len(stored.Ahead); n > 0 {
		above = max(above, stored.Ahead[n-1].To)
	}
	refused := func(why string, attrs ...slog.Attr) {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: the progress in the store is not of this log and not used, "+
			"the partition begins where its subscription stands", append([]slog.Attr{
			slog.String("stream", c.stream), slog.Int("partition", int(c.number)),
			slog.String("stored_cluster", stored.Log), slog.String("cluster", own), slog.String("why", why),
		}, attrs...)...)
	}
	switch {
	case above == 0:
		return nothing, nil
	case stored.Log != "" && stored.Log != own: // a store that was written by an earlier version has none
		refused("it is of another cluster")
		return nothing, nil
	}
	end, err := endOf(cons)
	switch {
	case err != nil:
		return nil, err
	case end == 0: // an empty log: nothing of it can be settled
		return c.forget(ctx, stored.Epoch)
	case above > end:
		refused("it ends behind the last message", slog.Int64("frontier", stored.Frontier), slog.Int64("end", end))
		return c.forget(ctx, stored.Epoch)
	}
	ours := *stored
	ours.Log = own
	return &ours, nil
}

// lastOf asks the broker for the last message of a log. Its ledger, or its entry, is below 0 where the log is empty.
func lastOf(cons consumer) (pulsar.MessageID, error) {
	ids, err := cons.GetLastMessageIDs()
	if err == nil && len(ids) != 1 {
		err = fmt.Errorf("%d ids of one topic", len(ids))
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the last message: %w", err)
	}
	return ids[0], nil
}

// endOf returns an offset that is above all packed ones of a log, and at most at the next entry's. It is 0 where the log is empty.
func endOf(cons consumer) (int64, error) {
	last, err := lastOf(cons)
	if err != nil {
		return 0, err
	}
	return endBehind(last), nil
}

func endBehind(last pulsar.MessageID) int64 {
	if last.LedgerID() < 0 {
		return 0
	}
	end, err := pack(position{ledger: last.LedgerID(), entry: last.EntryID() + 1})
	if err != nil {
		return 1<<63 - 1 // no offset is above it; the messages themselves will say so
	}
	return end
}

// errNotOurs is why whileLocked ends a call.
var errNotOurs = errors.New("not proposed any more, or the connection has gone")

// whileLocked runs f apart, with a ctx that ends after OperationTimeout, and as soon as the partition is not ours to take
// any more: who holds the lock meanwhile keeps the next owner waiting. It is not held since a connection has gone, which
// breaks tells.
func whileLocked[T any](ctx context.Context, c *contender, breaks int, f func(ctx context.Context) (T, error)) (T, error) {
	bound := c.s.cfg.OperationTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("no answer within %v (Config.OperationTimeout)", bound))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for {
			if active, gone := c.look(); gone || !active || c.broken() != breaks || c.s.over() {
				end(errNotOurs)
			}
			if !c.wait(ctx) {
				return
			}
		}
	}()
	defer func() {
		end(nil)
		<-listening
	}()
	return call(ctx, c.s, func() (T, error) { return f(ctx) }, func(T) {})
}
