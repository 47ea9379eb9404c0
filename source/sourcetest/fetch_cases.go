package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
)

// fetchCases test Fetch and its messages.
func fetchCases() []Case {
	return []Case{
		{"MessagesInOrder", "Order per key starts with the order of the partition. A changed key puts a message into another lane.", messagesInOrder},
		{"EmptyIsNotNil", "A message with a nil key has no order, and a nil value is a tombstone. Empty ones mean neither.", emptyIsNotNil},
		{"FetchReturnsWhenCtxEnds", "A pipeline that stops must neither wait for the next message nor lose it.", fetchReturnsWhenCtxEnds},
		{"FetchAfterCtxGoesOnAtSamePosition", "A batch that Fetch drops when its ctx ends is lost once later messages are committed.", fetchAfterCtxGoesOn},
		{"BatchLimitsRespected", "The pipeline counts its budget after Fetch, so each batch has to keep the limits. A message above MaxBytes still has to come, alone.", batchLimitsRespected},
		{"BytesAreNeverReused", "Handlers may keep the bytes of a message. A reused buffer changes messages that wait in their lanes.", bytesAreNeverReused},
		{"OffsetsAscendAndMaySkip", "Frontiers and ranges are offsets. An offset that comes twice or goes back breaks them.", offsetsAscendAndMaySkip},
		{"PositionMovesWithoutMessages", "Otherwise the frontier stays below a compacted tail or an aborted transaction for ever, and lag never reaches 0.", positionMovesWithoutMessages},
		{"LagReachesZero", "Operators read lag as the backlog. When everything is read it has to be 0.", lagReachesZero},
		{"UnfetchedPartitionStopsNoOther", "A stuck key pauses its partition. The other partitions have to go on.", unfetchedPartitionStopsNoOther},
		{"PrefetchEndsWithRelease", "The pipeline counts the bytes that a source holds against its limit. Bytes of a released partition would count for ever.", prefetchEndsWithRelease},
	}
}

var errLag = errors.New("lag does not reach 0")

func messagesInOrder(ctx context.Context, h *harness) error {
	first, later := 150, 50
	if h.env.endless() != nil {
		first, later = 200, 0
	}
	for p := range int32(2) {
		if err := h.produce(p, first); err != nil {
			return err
		}
	}
	m, err := h.join(ctx)
	if err != nil {
		return err
	}
	for p := range int32(2) {
		n, err := m.hold(ctx, p)
		if err != nil {
			return err
		}
		msgs, err := n.read(ctx, first)
		if err != nil {
			return err
		}
		// Produce more while the member owns the partition.
		if err := h.produce(p, later); err != nil {
			return err
		}
		more, err := n.read(ctx, later)
		if err != nil {
			return err
		}
		msgs = append(msgs, more...)
		if err := sees(msgs, p, 0); err != nil {
			return err
		}
		for i := range msgs {
			want := message(p, i)
			if !bytes.Equal(msgs[i].Key, want.Key) {
				return fmt.Errorf("message %d has key %q, want %q", i, msgs[i].Key, want.Key)
			}
			if v, ok := msgs[i].Header("n"); !ok || !bytes.Equal(v, want.Headers[0].Value) {
				return fmt.Errorf("message %d has headers %v, want %v", i, msgs[i].Headers, want.Headers)
			}
		}
	}
	return nil
}

func emptyIsNotNil(ctx context.Context, h *harness) error {
	want := []keystrand.Message{{Value: []byte("no key")}, {Key: []byte{}, Value: []byte{}}, {Key: []byte("tombstone")}}
	if err := h.send(0, want...); err != nil {
		return err
	}
	n, err := h.only(ctx, 0)
	if err != nil {
		return err
	}
	got, err := n.read(ctx, len(want))
	if err != nil {
		return err
	}
	if h.env.NoNil {
		want[1].Key, want[1].Value, want[2].Value = nil, got[1].Value, got[1].Value // both values nil, or both empty
	}
	for i := range want {
		if (got[i].Key == nil) != (want[i].Key == nil) || (got[i].Value == nil) != (want[i].Value == nil) {
			return fmt.Errorf("message %d: key %#v and value %#v, want %#v and %#v",
				i, got[i].Key, got[i].Value, want[i].Key, want[i].Value)
		}
	}
	return nil
}

func fetchReturnsWhenCtxEnds(ctx context.Context, h *harness) error {
	if err := h.env.endless(); err != nil {
		return err
	}
	n, err := h.only(ctx, 0)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result := make(chan error, 1)
	b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
	go func() { result <- n.fetch(waiting, &b) }()
	if err := h.patience(ctx); err != nil {
		return err
	}
	cancel(errEnough)
	select {
	case err := <-result:
		if !errors.Is(err, errEnough) {
			return fmt.Errorf("%v: Fetch returned %w, want the cause of its ctx", n.part.ID(), given(err))
		}
	case <-ctx.Done():
		return fmt.Errorf("%v: Fetch has not returned since its ctx ended: %w", n.part.ID(), context.Cause(ctx))
	}
	if err := h.produce(0, 5); err != nil {
		return err
	}
	msgs, err := n.read(ctx, 5)
	if err != nil {
		return err
	}
	return sees(msgs, 0, 0)
}

func fetchAfterCtxGoesOn(ctx context.Context, h *harness) error {
	const total = 300
	n, err := h.owner(ctx, total)
	if err != nil {
		return err
	}
	read := 0
	for round := 0; read < total; round++ {
		// The ctx ends before Fetch, ends at some moment during Fetch, or does not end.
		fetching, cancel := context.WithCancelCause(ctx)
		switch round % 3 {
		case 0:
			cancel(errEnough)
		case 1:
			go cancel(errEnough)
		}
		b := source.Batch{MaxMessages: 5, MaxBytes: 1 << 20}
		err := n.fetch(fetching, &b)
		cancel(nil)
		if err != nil && !errors.Is(err, errEnough) {
			return fmt.Errorf("fetch after %d of %d messages: %w", read, total, err)
		}
		if err != nil {
			continue
		}
		if err := sees(b.Messages, 0, read); err != nil {
			return err
		}
		read += len(b.Messages)
	}
	return nil
}

func batchLimitsRespected(ctx context.Context, h *harness) error {
	const big = 20_000
	if err := h.produce(0, 10); err != nil {
		return err
	}
	if err := h.send(0, keystrand.Message{Key: []byte("big"), Value: bytes.Repeat([]byte("x"), big)}); err != nil {
		return err
	}
	n, err := h.owner(ctx, 10)
	if err != nil {
		return err
	}
	one := message(0, 0)
	var all []keystrand.Message
	for round := 0; len(all) < 21; round++ {
		// fetch checks both limits. A message above MaxBytes may come alone.
		b := source.Batch{MaxMessages: 100, MaxBytes: 5 * one.Size() / 2}
		switch round % 3 {
		case 0:
			b.MaxMessages = 3
		case 1:
			b.MaxBytes = 1
		}
		if err := n.fetch(ctx, &b); err != nil {
			return err
		}
		all = append(all, b.Messages...)
	}
	if got := len(all[10].Value); got != big {
		return fmt.Errorf("the value of the large message has %d bytes, want %d", got, big)
	}
	return sees(slices.Concat(all[:10], all[11:]), 0, 0)
}

func bytesAreNeverReused(ctx context.Context, h *harness) error {
	const total = 200
	n, err := h.owner(ctx, total)
	if err != nil {
		return err
	}
	// Use one Batch for all calls, as a pipeline does, and keep the structs, as a lane does.
	b := source.Batch{MaxMessages: 7, MaxBytes: 1 << 20}
	var kept []keystrand.Message
	var text []string
	whole := func(m *keystrand.Message) string {
		return strings.Join([]string{string(m.Key), string(m.Value), fmt.Sprintf("%s", m.Headers)}, "|")
	}
	for len(kept) < total {
		b.Messages = b.Messages[:0]
		if err := n.fetch(ctx, &b); err != nil {
			return err
		}
		for i := range b.Messages {
			kept, text = append(kept, b.Messages[i]), append(text, whole(&b.Messages[i]))
		}
	}
	for i := range kept {
		if now := whole(&kept[i]); now != text[i] {
			return fmt.Errorf("message %d was %q and became %q", i, text[i], now)
		}
	}
	return sees(kept, 0, 0)
}

func offsetsAscendAndMaySkip(ctx context.Context, h *harness) error {
	if err := need(h.env.Skip != nil, "way to move a position without messages (Env.Skip)"); err != nil {
		return err
	}
	n, err := h.only(ctx, 0)
	if err != nil {
		return err
	}
	for range 4 {
		if err := h.produce(0, 4); err != nil {
			return err
		}
		if _, err := h.env.Skip(0); err != nil {
			return err
		}
	}
	msgs, err := n.read(ctx, 16) // fetch checks the offsets
	if err != nil {
		return err
	}
	return sees(msgs, 0, 0)
}

func positionMovesWithoutMessages(ctx context.Context, h *harness) error {
	if err := need(h.env.Skip != nil, "way to move a position without messages (Env.Skip)"); err != nil {
		return err
	}
	n, err := h.owner(ctx, 3)
	if err != nil {
		return err
	}
	if _, err := n.read(ctx, 3); err != nil {
		return err
	}
	for range 2 {
		end, err := h.env.Skip(0)
		if err != nil {
			return err
		}
		if err := n.moveTo(ctx, end); err != nil {
			return err
		}
	}
	if err := n.commit(ctx, n.position); err != nil {
		return err
	}
	end := n.position
	if err := n.m.leave(ctx); err != nil {
		return err
	}
	if n, err = h.only(ctx, 0); err != nil {
		return err
	}
	if got := n.part.Restored().Frontier; got != end {
		return fmt.Errorf("%v: restored frontier %d, want %d", n.part.ID(), got, end)
	}
	return nil
}

// moveTo fetches until the position has reached end. No message may come.
func (n *holding) moveTo(ctx context.Context, end int64) error {
	for n.position < end {
		b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
		if err := n.fetch(ctx, &b); err != nil {
			return fmt.Errorf("%v: fetch at position %d, want it to move to %d: %w", n.part.ID(), n.position, end, err)
		}
		if len(b.Messages) > 0 {
			return fmt.Errorf("%v: fetched %d messages, want none", n.part.ID(), len(b.Messages))
		}
	}
	return nil
}

func lagReachesZero(ctx context.Context, h *harness) error {
	if err := h.env.endless(); err != nil {
		return err
	}
	n, err := h.only(ctx, 0)
	if err != nil {
		return err
	}
	lagger, ok := n.part.(source.Lagger)
	if err := need(ok, "partition that implements source.Lagger"); err != nil {
		return err
	}
	for round := range 3 {
		if err := h.produce(0, 20); err != nil {
			return err
		}
		if _, err := n.read(ctx, 20); err != nil {
			return err
		}
		if h.env.Skip != nil && round > 0 {
			end, err := h.env.Skip(0)
			if err != nil {
				return err
			}
			if err := n.moveTo(ctx, end); err != nil {
				return err
			}
		}
		// End may be outdated: a Fetch lets the source update it.
		for {
			end, known := lagger.End()
			if known && end == n.position {
				break
			}
			looking, cancel := context.WithTimeoutCause(ctx, h.env.Patience, errEnough)
			b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
			err := n.fetch(looking, &b)
			cancel()
			if (err != nil && !errors.Is(err, errEnough)) || len(b.Messages) > 0 || ctx.Err() != nil {
				return fmt.Errorf("%v: End returned %d, %t, want the position %d; fetched %d more messages: %w",
					n.part.ID(), end, known, n.position, len(b.Messages), errors.Join(err, context.Cause(ctx), errLag))
			}
		}
	}
	return nil
}
