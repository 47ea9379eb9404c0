package commit

// State is what a tracker can tell at once. All fields are of the same moment.
type State struct {
	// Position is the offset of the next fetch, Frontier the offset below which every message is settled.
	Position, Frontier int64

	// Pending counts the messages that are tracked and not settled; Ahead those that are settled although an older one
	// is not, which a plain commit of the frontier would replay. Neither counts restored ranges that were not fetched
	// again yet.
	Pending, Ahead int64

	// Oldest is the number of the oldest unsettled message, -1 if there is none.
	Oldest int64

	// Changed is the same as long as Progress would say the same: an idle partition need not be committed again.
	Changed int64
}
