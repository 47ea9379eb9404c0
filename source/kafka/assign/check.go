package assign

import (
	"errors"
	"fmt"
	"slices"
)

// Check returns all errors of a plan: partitions with several owners, with an owner that is no member or does not subscribe
// to the topic, or without an owner although a member subscribes.
func (p Plan) Check(members []Member, partitions []Partition) error {
	var errs []error
	owner := make(map[Partition]string, len(partitions))
	for id, given := range p {
		i := slices.IndexFunc(members, func(m Member) bool { return m.ID == id })
		if i < 0 {
			errs = append(errs, fmt.Errorf("assign: %q is not a member", id))
			continue
		}
		for _, tp := range given {
			if other, taken := owner[tp]; taken {
				errs = append(errs, fmt.Errorf("assign: %s/%d is assigned to %q and to %q", tp.Topic, tp.Number, other, id))
			}
			owner[tp] = id
			if !members[i].subscribes(tp.Topic) {
				errs = append(errs, fmt.Errorf("assign: %s/%d is assigned to %q, which does not subscribe to the topic", tp.Topic, tp.Number, id))
			}
			if !slices.Contains(partitions, tp) {
				errs = append(errs, fmt.Errorf("assign: %s/%d does not exist", tp.Topic, tp.Number))
			}
		}
	}
	for _, tp := range partitions {
		if _, ok := owner[tp]; !ok && len(subscribers(members, tp.Topic)) > 0 {
			errs = append(errs, fmt.Errorf("assign: %s/%d has a subscriber but no owner", tp.Topic, tp.Number))
		}
	}
	return errors.Join(errs...)
}
