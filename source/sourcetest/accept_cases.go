package sourcetest

import (
	"context"
	"errors"
	"io"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source"
)

// acceptCases test Accept, Close and the start of an ownership.
func acceptCases() []Case {
	return []Case{
		{"AcceptReturnsEveryPartition", "A partition that no member gets is never read. One that two members get is handled twice.", acceptReturnsEveryPartition},
		{"AcceptReturnsWhenCtxEnds", "A pipeline that stops would wait for ever for a partition that never comes.", acceptReturnsWhenCtxEnds},
		{"DescribesItself", "Metrics without the system or the group cannot be told apart from those of another pipeline.", describesItself},
		{"ReleaseWithoutFetch", "A pipeline that stops while it starts releases partitions before it fetches from them.", releaseWithoutFetch},
		{"FiniteEndsWithEOF", "A backfill has to end by itself, after its last message and not before.", finiteEndsWithEOF},
		{"CloseEndsGoroutines", "A process that starts and stops many pipelines runs out of memory if each leaves goroutines behind.", closeEndsGoroutines},
	}
}

func acceptReturnsEveryPartition(ctx context.Context, h *harness) {
	m, all := h.joinAlone(ctx)
	h.patience(ctx)
	if got := len(m.held()); got != h.env.Partitions {
		fail("%d partitions were accepted, want %d", got, h.env.Partitions)
	}
	for _, n := range all { // whose names are those of the Env
		id, r := n.part.ID(), n.part.Restored()
		switch {
		case id.Epoch < 1:
			fail("accepted %v: want an epoch of at least 1", id)
		case r == nil:
			fail("%v: Restored is nil", id)
		case r.Epoch != id.Epoch:
			fail("%v: the epoch of Restored is %d", id, r.Epoch)
		case len(r.Ahead) != 0:
			fail("%v: Restored has ranges %v, but nothing was committed", id, r.Ahead)
		}
	}
}

func acceptReturnsWhenCtxEnds(ctx context.Context, h *harness) {
	// First with partitions to come, then when the member owns all of them.
	src := must(h.open())
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errEnough)
	if p, err := src.Accept(ended); !errors.Is(err, errEnough) {
		fail("accept with an ended ctx: got %v, %w; want the cause of the ctx", p, given(err))
	}
	m := h.joinBy(ctx, func() (source.Source, error) { return src, nil })
	m.holdAll(ctx)
	check(m.stopAccepting(ctx))
	if err := m.acceptError(); !errors.Is(err, errEnough) && (h.env.endless() == nil || err != io.EOF) { //nolint:errorlint // see end
		fail("member %d: Accept returned %w, want the cause of its ctx", m.number, given(err))
	}
}

func describesItself(ctx context.Context, h *harness) {
	m := h.join(ctx)
	d, ok := m.src.(source.Describer)
	check(need(ok, "source.Describer"))
	m.hold(ctx, 0)
	now := d.Describe()
	switch {
	case now.System == "":
		fail("Describe: the system is empty")
	case now.Group != h.env.Group:
		fail("Describe: the group is %q, want %q", now.Group, h.env.Group)
	case slices.ContainsFunc(now.Servers, func(s string) bool { return s == "" || strings.Contains(s, "@") }):
		fail("Describe: the servers are %q: want host:port, or the path of a socket, without credentials", now.Servers)
	}
	check(m.leave(ctx))
	if later := d.Describe(); !reflect.DeepEqual(later, now) {
		fail("Describe: %+v has become %+v, want a constant", now, later)
	}
}

func releaseWithoutFetch(ctx context.Context, h *harness) {
	h.produce(0, 3)
	for range 3 {
		m := h.join(ctx)
		m.hold(ctx, 0)
		check(m.leave(ctx))
	}
	m := h.join(ctx)
	n := m.hold(ctx, 0)
	check(sees(must(n.read(ctx, 3)), 0, 0))
}

func finiteEndsWithEOF(ctx context.Context, h *harness) {
	check(need(h.env.JoinFinite != nil, "finite log (Env.JoinFinite)"))
	for p := range h.env.Partitions {
		h.produce(int32(p), 10+p)
	}
	m := h.joinBy(ctx, h.env.JoinFinite)
	all := m.holdAll(ctx)
	for p, n := range all {
		msgs := must(n.read(ctx, 10+p))
		check(sees(msgs, int32(p), 0))
		for range 2 {
			n.end(ctx)
		}
		check(n.commit(ctx, n.position))
		check(n.letGo(ctx))
	}
	select {
	case <-m.ended:
	case <-ctx.Done():
		fail("member %d: Accept has not returned since the last partition was read, committed and released: %w", m.number, context.Cause(ctx))
	}
	if err := m.acceptError(); err != io.EOF { //nolint:errorlint // see end
		fail("member %d: Accept returned %w, want the bare io.EOF", m.number, given(err))
	}
}

// end fetches until io.EOF. The position may move meanwhile, but no message may come. An error that wraps io.EOF is a
// failure, such as a lost connection.
func (n *holding) end(ctx context.Context) {
	for {
		b := source.Batch{MaxMessages: 10, MaxBytes: 1 << 20}
		err := n.fetch(ctx, &b)
		switch {
		case err == io.EOF: //nolint:errorlint // see above
			return
		case err != nil:
			fail("%v: Fetch at the end returned %w, want the bare io.EOF", n.part.ID(), err)
		case len(b.Messages) > 0:
			fail("%v: Fetch at the end returned %d messages, want io.EOF", n.part.ID(), len(b.Messages))
		}
	}
}

func closeEndsGoroutines(ctx context.Context, h *harness) {
	round := func() {
		h.produce(0, 5)
		m, all := h.joinAlone(ctx)
		must(all[0].read(ctx, 5))
		check(all[0].commit(ctx, all[0].position))
		check(m.leave(ctx))
	}
	// The log may start some goroutines only once: the first round is not counted. Its own goroutines may take a moment to end.
	round()
	h.patience(ctx)
	const rounds = 5
	before := goroutines()
	for range rounds {
		round()
	}
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		now := goroutines()
		for id := range before {
			delete(now, id)
		}
		if len(now) < rounds {
			return
		}
		if err := pause.For(ctx, wait); err != nil {
			fail("%d closed sources have left %d goroutines behind: %w\n%s", rounds, len(now), err,
				strings.Join(slices.Collect(maps.Values(now)), "\n\n"))
		}
	}
}

// goroutines returns the stacks of all goroutines, by their first lines. A number of goroutines would not be enough: one that
// ends in the meantime would hide one that is left behind.
func goroutines() map[string]string {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := make(map[string]string)
	for stack := range strings.SplitSeq(strings.TrimSpace(string(buf)), "\n\n") {
		name, _, _ := strings.Cut(stack, " [")
		all[name] = stack
	}
	return all
}
