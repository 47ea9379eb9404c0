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
	"github.com/keystrand/keystrand/source/pulsar/internal/ack"
	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// cluster names the brokers in stored progress. Positions of one cluster mean nothing in another.
func (s *Source) cluster() string {
	if s.cfg.Cluster != "" {
		return s.cfg.Cluster
	}
	all := hosts(strings.ToLower(s.url))
	slices.Sort(all)
	return strings.Join(all, ",")
}

// hosts returns the hosts of a URL, which has no credentials.
func hosts(url string) []string {
	_, list, _ := strings.Cut(url, "://")
	list, _, _ = strings.Cut(list, "/")
	return strings.Split(list, ",")
}

// claim makes this process the owner in the store, and returns the progress to begin with. Without a store that is only an
// epoch.
func (c *contender) claim(ctx context.Context, cons attached) (*commit.Progress, error) {
	if c.s.cfg.Store == nil {
		return &commit.Progress{Epoch: c.s.nextEpoch()}, nil
	}
	return whileLocked(ctx, c, cons.breaks, func(ctx context.Context) (*commit.Progress, error) {
		claimed, err := c.claimStored(ctx)
		if err != nil {
			return nil, err
		}
		return c.trusted(ctx, cons.Consumer, claimed)
	})
}

func (c *contender) claimStored(ctx context.Context) (*commit.Progress, error) {
	claimed, err := c.s.cfg.Store.Claim(ctx, c.stream, c.number, c.s.nextEpoch())
	if err != nil {
		return nil, fmt.Errorf("claim in Config.Store: %w", err)
	}
	c.s.claimed(claimed.Epoch)
	return claimed, nil
}

// restart drops the progress in the store before the subscription moves: messages below the frontier are wanted again, or
// later ones are not. After a crash in between, the acknowledgements of the subscription count.
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

// forget stores empty progress, and returns it.
func (c *contender) forget(ctx context.Context, epoch int64) (*commit.Progress, error) {
	nothing := &commit.Progress{Log: c.s.cluster(), Epoch: epoch}
	if err := c.s.cfg.Store.Save(ctx, c.stream, c.number, nothing); err != nil {
		return nil, fmt.Errorf("drop the progress in Config.Store: %w", err)
	}
	return nothing, nil
}

// Steps between the lock and an ownership, as the health of the source names them.
const (
	claiming = "claim"
	seeking  = "seek"
	reading  = "read" // of an ownership
)

// succeeded records the end of a step, and pauses if it failed. It reports whether the step succeeded.
func (c *contender) succeeded(ctx context.Context, step string, err error) bool {
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

// forgetSteps removes the steps from the health of the source: another process begins the next ownership.
func (c *contender) forgetSteps() {
	c.stood = nil
	for _, step := range []string{claiming, seeking, reading} {
		c.s.health.Forget(step + " " + c.name())
	}
}

// trusted returns the stored progress if it is about this log. Messages that it settles are acknowledged and not fetched.
// Else it returns empty progress, and the partition begins at the position of the subscription; that costs only replays.
// Progress beyond the end of the log is dropped from the store at once, since the log grows.
func (c *contender) trusted(ctx context.Context, cons client.Consumer, stored *commit.Progress) (*commit.Progress, error) {
	s := c.s
	own := s.cluster()
	nothing := &commit.Progress{Log: own, Epoch: stored.Epoch}
	above := stored.Frontier
	if n := len(stored.Ahead); n > 0 {
		above = max(above, stored.Ahead[n-1].To)
	}
	ignored := func(cause string, attrs ...slog.Attr) {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "pulsar: ignoring stored progress of another log; using the position of the subscription",
			append([]slog.Attr{
				slog.String("stream", c.stream), slog.Int("partition", int(c.number)),
				slog.String("stored_cluster", stored.Log), slog.String("cluster", own), slog.String("cause", cause),
			}, attrs...)...)
	}
	switch {
	case above == 0:
		return nothing, nil
	case stored.Log != "" && stored.Log != own: // an earlier version stored none
		ignored("another cluster")
		return nothing, nil
	}
	end, err := endOf(cons)
	switch {
	case err != nil:
		return nil, err
	case end == 0: // none of an empty log can be settled
		return c.forget(ctx, stored.Epoch)
	case above > end:
		ignored("behind the last message", slog.Int64("frontier", stored.Frontier), slog.Int64("end", end))
		return c.forget(ctx, stored.Epoch)
	}
	ours := *stored
	ours.Log = own
	return &ours, nil
}

// lastOf asks the broker for the last message of a log. Its ledger, or its entry, is negative if the log is empty.
func lastOf(cons client.Consumer) (pulsar.MessageID, error) {
	ids, err := cons.GetLastMessageIDs()
	if err == nil && len(ids) != 1 {
		err = fmt.Errorf("%d ids of one topic", len(ids))
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the last message: %w", err)
	}
	return ids[0], nil
}

// endOf returns an offset above all packed ones of a log, at most that of the next entry. It is 0 if the log is empty.
func endOf(cons client.Consumer) (int64, error) {
	last, err := lastOf(cons)
	if err != nil {
		return 0, err
	}
	if last.LedgerID() < 0 {
		return 0, nil
	}
	end, err := pack(ack.Position{Ledger: last.LedgerID(), Entry: last.EntryID() + 1})
	if err != nil {
		return 1<<63 - 1, nil //nolint:nilerr // no offset is above it; Fetch will report the id
	}
	return end, nil
}

// errNotOurs is in the error of a step that whileLocked ended.
var errNotOurs = errors.New("another process is elected, or the lock is lost")

// whileLocked runs f on a goroutine of its own. The ctx of f ends after OperationTimeout, or as soon as this process may not
// take the partition any more, since it keeps the next owner waiting. breaks tells whether the lock is still held: it is
// lost with the connection.
func whileLocked[T any](ctx context.Context, c *contender, breaks int, f func(ctx context.Context) (T, error)) (T, error) {
	bound := c.s.cfg.OperationTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("no answer within %v (Config.OperationTimeout)", bound))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for {
			if active, gone := c.look(); gone || !active || c.disconnects() != breaks || c.s.over() {
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
	return client.Call(ctx, &c.s.calls, func() (T, error) { return f(ctx) }, func(T) {})
}
