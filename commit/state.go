package commit

// State describes a tracker at one moment.
type State struct {
	// Position is the offset of the next fetch. Frontier is the offset below which every message is settled.
	Position, Frontier int64

	// Pending counts the messages that are tracked and not settled. Ahead counts the settled messages above an
	// unsettled one: a commit of the frontier alone would replay them. Neither counts restored ranges that were not
	// fetched again yet.
	Pending, Ahead int64

	// Oldest is the number of the oldest unsettled message, -1 if there is none.
	Oldest int64

	// Changed grows whenever Progress would return something new. While it stays the same, the partition needs no
	// commit.
	Changed int64
}
