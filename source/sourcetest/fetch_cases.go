package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

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

func messagesInOrder(ctx context.Context, h *harness) {
	first, later := 150, 50
	if h.env.endless() != nil {
		first, later = 200, 0
	}
	for p := range int32(2) {
		h.produce(p, first)
	}
	m := h.join(ctx)
	for p := range int32(2) {
		n := m.hold(ctx, p)
		msgs := must(n.read(ctx, first))
		// Produce more while the member owns the partition.
		h.produce(p, later)
		msgs = append(msgs, must(n.read(ctx, later))...)
		check(sees(msgs, p, 0))
		for i := range msgs {
			want := message(p, i)
			if !bytes.Equal(msgs[i].Key, want.Key) {
				fail("message %d has key %q, want %q", i, msgs[i].Key, want.Key)
			}
			if v, ok := msgs[i].Header("n"); !ok || !bytes.Equal(v, want.Headers[0].Value) {
				fail("message %d has headers %v, want %v", i, msgs[i].Headers, want.Headers)
			}
		}
	}
}

func emptyIsNotNil(ctx context.Context, h *harness) {
	want := []keystrand.Message{{Value: []byte("no key")}, {Key: []byte{}, Value: []byte{}}, {Key: []byte("tombstone")}}
	h.send(0, want...)
	n := h.only(ctx, 0)
	got := must(n.read(ctx, len(want)))
	if h.env.NoNil {
		want[1].Key, want[1].Value, want[2].Value = nil, got[1].Value, got[1].Value // both values nil, or both empty
	}
	for i := range want {
		if (got[i].Key == nil) != (want[i].Key == nil) || (got[i].Value == nil) != (want[i].Value == nil) {
			fail("message %d: key %#v and value %#v, want %#v and %#v",
				i, got[i].Key, got[i].Value, want[i].Key, want[i].Value)
		}
	}
}

func fetchReturnsWhenCtxEnds(ctx context.Context, h *harness) {
	check(h.env.endless())
	n := h.only(ctx, 0)
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result := make(chan error, 1)
	b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
	go func() { result <- n.fetch(waiting, &b) }()
	h.patience(ctx)
	cancel(errEnough)
	select {
	case err := <-result:
		if !errors.Is(err, errEnough) {
			fail("%v: Fetch returned %w, want the cause of its ctx", n.part.ID(), given(err))
		}
	case <-ctx.Done():
		fail("%v: Fetch has not returned since its ctx ended: %w", n.part.ID(), context.Cause(ctx))
	}
	h.produce(0, 5)
	check(sees(must(n.read(ctx, 5)), 0, 0))
}

func fetchAfterCtxGoesOn(ctx context.Context, h *harness) {
	const total = 300
	n := h.owner(ctx, total)
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
			fail("fetch after %d of %d messages: %w", read, total, err)
		}
		if err != nil {
			continue
		}
		check(sees(b.Messages, 0, read))
		read += len(b.Messages)
	}
}

func batchLimitsRespected(ctx context.Context, h *harness) {
	const big = 20_000
	h.produce(0, 10)
	h.send(0, keystrand.Message{Key: []byte("big"), Value: bytes.Repeat([]byte("x"), big)})
	n := h.owner(ctx, 10)
	first := source.Batch{MaxMessages: 1, MaxBytes: 1 << 20}
	for len(first.Messages) == 0 {
		check(n.fetchAsIs(ctx, &first))
	}
	size := first.Messages[0].Size()
	all := []keystrand.Message{h.plain(first.Messages[0])}
	for round := 0; len(all) < 21; round++ {
		// fetch checks both limits. A message above MaxBytes may come alone.
		b := source.Batch{MaxMessages: 100, MaxBytes: 5 * size / 2}
		switch round % 3 {
		case 0:
			b.MaxMessages = 3
		case 1:
			b.MaxBytes = 1
		}
		check(n.fetch(ctx, &b))
		all = append(all, b.Messages...)
	}
	if got := len(all[10].Value); got != big {
		fail("the value of the large message has %d bytes, want %d", got, big)
	}
	check(sees(slices.Concat(all[:10], all[11:]), 0, 0))
}

func bytesAreNeverReused(ctx context.Context, h *harness) {
	const total = 200
	n := h.owner(ctx, total)
	// Use one Batch for all calls, as a pipeline does, and keep the structs, as a lane does. A plain message could be a copy, so
	// keep the one that was fetched.
	b := source.Batch{MaxMessages: 7, MaxBytes: 1 << 20}
	var kept []keystrand.Message
	var text []string
	whole := func(m keystrand.Message) string {
		p := h.plain(m)
		return fmt.Sprintf("%s|%s|%s|%s|%s|%s", m.Key, m.Value, m.Headers, p.Key, p.Value, p.Headers)
	}
	for len(kept) < total {
		b.Messages = b.Messages[:0]
		check(n.fetchAsIs(ctx, &b))
		for _, m := range b.Messages {
			kept, text = append(kept, m), append(text, whole(m))
		}
	}
	for i, m := range kept {
		if now := whole(m); now != text[i] {
			fail("message %d was %q and became %q", i, text[i], now)
		}
		kept[i] = h.plain(m)
	}
	check(sees(kept, 0, 0))
}

func offsetsAscendAndMaySkip(ctx context.Context, h *harness) {
	check(need(h.env.Skip != nil, "way to move a position without messages (Env.Skip)"))
	n := h.only(ctx, 0)
	for range 4 {
		h.produce(0, 4)
		must(h.env.Skip(0))
	}
	check(sees(must(n.read(ctx, 16)), 0, 0)) // fetch checks the offsets
}

func positionMovesWithoutMessages(ctx context.Context, h *harness) {
	check(need(h.env.Skip != nil, "way to move a position without messages (Env.Skip)"))
	n := h.owner(ctx, 3)
	must(n.read(ctx, 3))
	for range 2 {
		n.moveTo(ctx, must(h.env.Skip(0)))
	}
	check(n.commit(ctx, n.position))
	end := n.position
	check(n.m.leave(ctx))
	n = h.only(ctx, 0)
	if got := n.part.Restored().Frontier; got != end {
		fail("%v: restored frontier %d, want %d", n.part.ID(), got, end)
	}
}

// moveTo fetches until the position has reached end. No message may come.
func (n *holding) moveTo(ctx context.Context, end int64) {
	for n.position < end {
		b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
		if err := n.fetch(ctx, &b); err != nil {
			fail("%v: fetch at position %d, want it to move to %d: %w", n.part.ID(), n.position, end, err)
		}
		if len(b.Messages) > 0 {
			fail("%v: fetched %d messages, want none", n.part.ID(), len(b.Messages))
		}
	}
}

func lagReachesZero(ctx context.Context, h *harness) {
	check(h.env.endless())
	n := h.only(ctx, 0)
	lagger, ok := n.part.(source.Lagger)
	check(need(ok, "partition that implements source.Lagger"))
	for round := range 3 {
		h.produce(0, 20)
		must(n.read(ctx, 20))
		if h.env.Skip != nil && round > 0 {
			n.moveTo(ctx, must(h.env.Skip(0)))
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
				fail("%v: End returned %d, %t, want the position %d; fetched %d more messages: %w",
					n.part.ID(), end, known, n.position, len(b.Messages), errors.Join(err, context.Cause(ctx), errLag))
			}
		}
	}
}
