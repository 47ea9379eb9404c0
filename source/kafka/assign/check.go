package assign

import (
	"errors"
	"fmt"
	"slices"
)

// Check returns what is wrong with a plan: partitions given to several members, to strangers, to members that do not
// subscribe to the topic, or to nobody although somebody subscribes. All of it at once.
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
				errs = append(errs, fmt.Errorf("assign: %s/%d is given to %q and to %q", tp.Topic, tp.Number, other, id))
			}
			owner[tp] = id
			if !members[i].subscribes(tp.Topic) {
				errs = append(errs, fmt.Errorf("assign: %s/%d is given to %q, which does not subscribe to the topic", tp.Topic, tp.Number, id))
			}
			if !slices.Contains(partitions, tp) {
				errs = append(errs, fmt.Errorf("assign: %s/%d does not exist", tp.Topic, tp.Number))
			}
		}
	}
	for _, tp := range partitions {
		if _, ok := owner[tp]; !ok && len(subscribers(members, tp.Topic)) > 0 {
			errs = append(errs, fmt.Errorf("assign: %s/%d is given to nobody", tp.Topic, tp.Number))
		}
	}
	return errors.Join(errs...)
}
