package group

import (
	"context"
	"errors"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/keystrand/keystrand/source/kafka/assign"
	"github.com/keystrand/keystrand/source/kafka/internal/wire"
)

// joined is the answer to a JoinGroup.
type joined struct {
	generation int32
	protocol   string
	member     string
	leader     bool
	members    []assign.Member // known to the leader
}

// join sends a JoinGroup. The coordinator delays the answer until all members have joined.
func (g *Group) join(ctx context.Context) (*joined, error) {
	if _, err := g.coordinator.find(ctx); err != nil {
		return nil, err
	}
	v := g.coordinator.joinVersion()
	r, err := g.coordinator.do(ctx, keyJoinGroup, v, g.joinRequest(), g.cfg.RebalanceTimeout)
	if err != nil && !errors.Is(err, kafkago.MemberIDRequired) {
		return nil, err
	}
	j := &joined{generation: r.I32(), protocol: r.Text()}
	leader := r.Text()
	j.member = r.Text()
	j.leader = j.member == leader
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		m := assign.Member{ID: r.Text()}
		m.Topics, m.Claims = readSubscription(r.Bytes())
		j.members = append(j.members, m)
	}
	if r.Err != nil {
		return nil, wire.Malformed("JoinGroup", r.Err)
	}
	g.member = j.member
	return j, err
}

func (g *Group) joinRequest() []byte {
	var w wire.Writer
	w.Text(g.cfg.Cluster.Group)
	w.I32(int32(g.cfg.Cluster.SessionTimeout.Milliseconds()))
	w.I32(int32(g.cfg.RebalanceTimeout.Milliseconds()))
	w.Text(g.member)
	w.Text("consumer")
	all := strategies(g.cfg.Strategy)
	subscription := writeSubscription(g.cfg.Cluster.Topics, g.cfg.Claims())
	w.Length(len(all))
	for _, s := range all {
		w.Text(protocolName(s))
		w.Bytes(subscription)
	}
	return w.B
}

// sync sends a SyncGroup, which carries the plan of the leader, and returns the partitions of this member. The coordinator
// delays the answer until it has the plan.
func (g *Group) sync(ctx context.Context, j *joined, plan assign.Plan) ([]assign.Partition, error) {
	var w wire.Writer
	w.Text(g.cfg.Cluster.Group)
	w.I32(j.generation)
	w.Text(j.member)
	w.Length(len(plan))
	for member, ps := range plan {
		w.Text(member)
		w.Bytes(writeAssignment(ps))
	}
	r, err := g.coordinator.do(ctx, keySyncGroup, version, w.B, g.cfg.Cluster.SessionTimeout)
	if err != nil {
		return nil, err
	}
	assigned, err := readAssignment(r.Bytes())
	if err = errors.Join(err, r.Err); err != nil {
		return nil, wire.Malformed("SyncGroup", err)
	}
	assigned = slices.DeleteFunc(assigned, func(p assign.Partition) bool { return !slices.Contains(g.cfg.Cluster.Topics, p.Topic) })
	slices.SortFunc(assigned, assign.Partition.Compare)
	return assigned, nil
}

// The metadata of a member and its assignment have the form of Java's consumer, as kafka-go writes them: members on that
// library, and older versions of this package, read them.
const metadataVersion = 1

func writeSubscription(topics []string, claims assign.Claims) []byte {
	var w wire.Writer
	w.I16(metadataVersion)
	w.Length(len(topics))
	for _, t := range topics {
		w.Text(t)
	}
	w.Bytes(claims.Encode())
	return w.B
}

// readSubscription ignores claims that it cannot read: they are of a newer version, and the member's partitions may move.
func readSubscription(b []byte) ([]string, assign.Claims) {
	r := wire.Reader{B: b}
	r.I16() // version
	var topics []string
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		topics = append(topics, r.Text())
	}
	claims, err := assign.DecodeClaims(r.Bytes())
	if err != nil {
		claims = assign.Claims{}
	}
	return topics, claims
}

func writeAssignment(ps []assign.Partition) []byte {
	byTopic := make(map[string][]int32)
	for _, p := range ps {
		byTopic[p.Topic] = append(byTopic[p.Topic], p.Number)
	}
	var w wire.Writer
	w.I16(metadataVersion)
	w.Length(len(byTopic))
	for topic, numbers := range byTopic {
		w.Text(topic)
		w.Length(len(numbers))
		for _, n := range numbers {
			w.I32(n)
		}
	}
	w.Bytes(nil)
	return w.B
}

// readAssignment reads an assignment. No bytes are no partitions.
func readAssignment(b []byte) ([]assign.Partition, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r := wire.Reader{B: b}
	r.I16() // version
	var ps []assign.Partition
	for n := r.Length(); n > 0 && r.Err == nil; n-- {
		topic := r.Text()
		for n := r.Length(); n > 0 && r.Err == nil; n-- {
			ps = append(ps, assign.Partition{Topic: topic, Number: r.I32()})
		}
	}
	if r.Err != nil {
		return nil, fmt.Errorf("assignment: %w", r.Err)
	}
	return ps, nil
}
