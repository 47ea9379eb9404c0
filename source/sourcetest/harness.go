package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/internal/pause"
	"github.com/keystrand/keystrand/source"
)

// errHangs is the cause of the ctx of a case that takes longer than Env.Wait.
var errHangs = errors.New("sourcetest: timed out after Env.Wait")

// harness runs the members of one case, watches the partitions they own, and numbers the messages.
type harness struct {
	env     Env
	numbers map[name]int32 // of the partitions; constant
	members []*member      // used by the goroutine of the case alone
	sent    map[int32]int  // number of messages produced, by partition

	mu       sync.Mutex
	offsets  map[int32][]int64 // fetched, by partition, ascending
	all      []*holding        // every ownership in the order of Accept, released or not
	stranger bool              // a partition was accepted that the Env does not name
	changed  chan struct{}     // closed when all grows
	overlaps [][2]*holding     // an ownership and the next, accepted before its Release: wrong unless the first was lost
	wrongs   []error           // other violations
}

func newHarness(env Env) *harness {
	h := &harness{env: env, numbers: make(map[name]int32), sent: make(map[int32]int), offsets: make(map[int32][]int64), changed: make(chan struct{})}
	for i := range env.Partitions {
		h.numbers[env.name(i)] = int32(i)
	}
	return h
}

// join makes a new member and starts to accept.
func (h *harness) join(ctx context.Context) *member { return h.joinBy(ctx, h.open) }

// open makes a source.
func (h *harness) open() (source.Source, error) {
	if h.env.Join == nil {
		return h.env.JoinFinite()
	}
	return h.env.Join()
}

func (h *harness) joinBy(ctx context.Context, join func() (source.Source, error)) *member {
	src, err := join()
	if err != nil {
		fail("join: %w", err)
	}
	m := newMember(h, len(h.members)+1, src)
	h.members = append(h.members, m)
	m.start(ctx)
	return m
}

// only joins a member and takes one of its partitions.
func (h *harness) only(ctx context.Context, partition int32) *holding {
	return h.join(ctx).hold(ctx, partition)
}

// joinAlone joins a member and takes every partition, in the order of their numbers.
func (h *harness) joinAlone(ctx context.Context) (*member, []*holding) {
	m := h.join(ctx)
	return m, m.holdAll(ctx)
}

// owner writes n messages to partition 0 and joins a member that owns it.
func (h *harness) owner(ctx context.Context, n int) *holding {
	h.produce(0, n)
	return h.only(ctx, 0)
}

// reader calls owner and then reads the n messages.
func (h *harness) reader(ctx context.Context, n int) (*holding, []keystrand.Message) {
	owner := h.owner(ctx, n)
	return owner, must(owner.read(ctx, n))
}

// restart lets the member of an ownership leave, joins a new member, and takes the same partition.
func (h *harness) restart(ctx context.Context, n *holding) *holding {
	check(n.m.leave(ctx))
	return h.only(ctx, n.number)
}

// produce appends n numbered messages to a partition.
func (h *harness) produce(partition int32, n int) {
	msgs := make([]keystrand.Message, n)
	for i := range msgs {
		msgs[i] = message(partition, h.sent[partition]+i)
	}
	h.sent[partition] += n
	h.send(partition, msgs...)
}

func (h *harness) send(partition int32, msgs ...keystrand.Message) {
	if err := h.env.Produce(partition, msgs...); err != nil {
		fail("produce to %v: %w", h.env.name(int(partition)), err)
	}
}

// message makes the n-th message of a partition.
func message(partition int32, n int) keystrand.Message {
	return keystrand.Message{
		Key:     fmt.Appendf(nil, "key-%d", n%7),
		Value:   fmt.Appendf(nil, "%d/%d", partition, n),
		Headers: []keystrand.Header{{Key: "n", Value: fmt.Append(nil, n)}},
	}
}

// plain returns a fetched message in the terms of message.
func (h *harness) plain(m keystrand.Message) keystrand.Message {
	p := h.env.Plain(m)
	m.Key, m.Value, m.Headers = p.Key, p.Value, p.Headers
	return m
}

// sees returns an error unless msgs are the messages of a partition from the n-th on, each once and in order.
func sees(msgs []keystrand.Message, partition int32, n int) error {
	for i := range msgs {
		want := message(partition, n+i)
		if got := &msgs[i]; string(got.Value) != string(want.Value) {
			return fmt.Errorf("message %d of %d at offset %d is %q, want %q", i, len(msgs), got.Offset, got.Value, want.Value)
		} else if zone := got.Time.Location(); zone != time.UTC {
			return fmt.Errorf("message %d of %d at offset %d has a time in the zone %v, want UTC", i, len(msgs), got.Offset, zone)
		}
	}
	return nil
}

// errNothing is the error of a call that returned nil and should have failed.
var errNothing = errors.New("no error")

// given returns err, or errNothing for nil, so that an error text can name it.
func given(err error) error {
	if err == nil {
		return errNothing
	}
	return err
}

// recreate makes the log again and forgets the offsets of the old one.
func (h *harness) recreate() {
	h.mu.Lock()
	clear(h.offsets)
	h.mu.Unlock()
	check(h.env.Recreate())
}

// saw records a fetched offset.
func (h *harness) saw(partition int32, offset int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i, found := slices.BinarySearch(h.offsets[partition], offset); !found {
		h.offsets[partition] = slices.Insert(h.offsets[partition], i, offset)
	}
}

// firstUnsettled returns the lowest offset, at or above from, that was fetched before and that p does not settle.
func (h *harness) firstUnsettled(partition int32, from int64, p *commit.Progress) (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.offsets[partition] {
		if o >= from && !p.Settled(o) {
			return o, true
		}
	}
	return 0, false
}

// patience waits for Env.Patience, in which something wrong can show itself.
func (h *harness) patience(ctx context.Context) { check(pause.For(ctx, h.env.Patience)) }

// stop makes all remaining members leave.
func (h *harness) stop(ctx context.Context) error {
	var errs []error
	for _, m := range h.members {
		errs = append(errs, m.leave(ctx))
	}
	return errors.Join(errs...)
}

// wrong records a violation that the case itself does not check.
func (h *harness) wrong(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrongs = append(h.wrongs, err)
}

// accepted records an ownership and checks it against the earlier ones.
func (h *harness) accepted(n *holding) {
	id := n.part.ID()
	if n.number < 0 {
		h.wrong(fmt.Errorf("accepted %v, want a partition that the Env names, such as %v", id, h.env.name(0)))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stranger = h.stranger || n.number < 0
	n.gone = n.m.crashed
	for _, old := range h.all {
		was := old.part.ID()
		if old.number != n.number || n.number < 0 || n.gone {
			continue
		}
		if old.committed && was.Epoch >= id.Epoch && !n.backwards {
			n.backwards = true
			h.wrongs = append(h.wrongs, fmt.Errorf("accepted %v after %v, which has committed: want a greater epoch", id, was))
		}
		if !old.releasing && (old.m == n.m || !old.gone) {
			h.overlaps = append(h.overlaps, [2]*holding{old, n})
		}
	}
	n.order = len(h.all)
	h.all = append(h.all, n)
	close(h.changed)
	h.changed = make(chan struct{})
}

// find waits for an ownership that fits and that the case has not taken yet, and takes it. If ended is not nil, find fails
// when ended is closed.
func (h *harness) find(ctx context.Context, ended <-chan struct{}, fits func(*holding) bool) (*holding, error) {
	for over := false; ; {
		h.mu.Lock()
		changed, all, stranger := h.changed, h.all, h.stranger
		h.mu.Unlock()
		for _, n := range all {
			if fits(n) && n.take() {
				return n, nil
			}
		}
		if stranger {
			return nil, errors.New("another partition was accepted")
		}
		if over {
			return nil, errors.New("the member no longer accepts")
		}
		select {
		case <-changed:
		case <-ended:
			over = true // look once more: a partition may have been accepted just before
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// next waits for the next ownership of the same partition, by any member, and takes it.
func (h *harness) next(ctx context.Context, old *holding) *holding {
	n, err := h.find(ctx, nil, func(n *holding) bool { return n.order > old.order && n.number == old.number })
	if err != nil {
		fail("no member accepts %v after %v: %w", h.env.name(int(old.number)), old.part.ID(), err)
	}
	return n
}

// asked waits until the source asks for one of the holdings back.
func (h *harness) asked(ctx context.Context, holdings []*holding) (*holding, source.Leave) {
	type answer struct {
		n     *holding
		leave source.Leave
	}
	answers := make(chan answer, len(holdings))
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, n := range holdings {
		go func() {
			select {
			case leave := <-n.leaves:
				answers <- answer{n, leave}
			case <-waiting.Done():
			}
		}()
	}
	select {
	case a := <-answers:
		return a.n, a.leave
	case <-ctx.Done():
		fail("no partition is revoked: %w", context.Cause(ctx))
		return nil, source.Leave{}
	}
}

// violations returns all recorded violations.
func (h *harness) violations() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	errs := h.wrongs
	for _, o := range h.overlaps {
		if old, n := o[0], o[1]; old.m == n.m || !old.gone {
			errs = append(errs, fmt.Errorf("member %d accepted %v before the Release of %v by member %d",
				n.m.number, n.part.ID(), old.part.ID(), old.m.number))
		}
	}
	return errors.Join(errs...)
}
