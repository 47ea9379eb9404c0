package assign

// Range assigns each member neighbouring partitions of each topic: with five partitions, the first of two members gets
// 0, 1 and 2. If the division has a remainder, the first members get one more, for each topic: many topics with few partitions
// make the first members busier. Partitions of equal number belong to one member if their topics have equally many partitions
// and the same subscribers.
func Range() Strategy { return rangeStrategy{} }

type rangeStrategy struct{}

func (rangeStrategy) Name() string { return "range" }

func (rangeStrategy) Plan(members []Member, partitions []Partition) Plan {
	plan := make(Plan, len(members))
	for len(partitions) > 0 {
		n := 1
		for n < len(partitions) && partitions[n].Topic == partitions[0].Topic {
			n++
		}
		topic := partitions[:n]
		partitions = partitions[n:]
		in := subscribers(members, topic[0].Topic)
		for i, m := range in {
			share, rest := n/len(in), n%len(in)
			from := i*share + min(i, rest)
			to := from + share
			if i < rest {
				to++
			}
			plan[m.ID] = append(plan[m.ID], topic[from:to]...)
		}
	}
	return plan
}
