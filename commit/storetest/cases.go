package storetest

// Cases returns all cases, the simple ones first.
func Cases() []Case {
	return []Case{
		{
			Name: "FirstClaimIsEmpty",
			Why:  "A partition that was never read begins where its source begins. A frontier that nobody saved would skip messages.",
			run:  firstClaimIsEmpty,
		},
		{
			Name: "SavedIsClaimed",
			Why: "A restart handles again whatever the store has not kept: each range ahead of the frontier counts. Progress under the identity " +
				"of another log is not used at all, and a source that needs At finds nothing without it.",
			run: savedIsClaimed,
		},
		{
			Name: "LastSaveCounts",
			Why:  "A source whose log was made again saves a lower frontier than before. A store that keeps the highest would skip the new log.",
			run:  lastSaveCounts,
		},
		{
			Name: "ClaimKeepsProgress",
			Why:  "An owner may lose its partition before its first Save. The next one must find what the one before it has saved.",
			run:  claimKeepsProgress,
		},
		{
			Name: "EpochsGrow",
			Why: "Handlers and sinks refuse effects of a smaller epoch. One that comes twice, or goes back after the clock of a machine was set back, " +
				"refuses the wrong owner.",
			run: epochsGrow,
		},
		{
			Name: "OlderEpochIsRefused",
			Why:  "An owner that lost its partition in a pause goes on for a while. Its Save would take the progress of the new owner back.",
			run:  olderEpochIsRefused,
		},
		{
			Name: "OnlyTheClaimedEpochSaves",
			Why:  "Progress of an epoch that nobody has claimed is that of no owner: of another store, or of one whose rows were deleted.",
			run:  onlyTheClaimedEpochSaves,
		},
		{
			Name: "ClaimedDoesNotChange",
			Why:  "A Progress is read by any goroutine for as long as its owner lives, and nobody changes it.",
			run:  claimedDoesNotChange,
		},
		{
			Name: "PartitionsAreApart",
			Why: "Streams have any names: empty, long, binary, different in case, accents or trailing spaces alone, which a collation of a database " +
				"takes for equal. Progress of another partition skips messages.",
			run: partitionsAreApart,
		},
		{
			Name: "ProcessesShareTheStore",
			Why:  "The next owner is on another machine. It must find what was saved there, and fence it.",
			run:  processesShareTheStore,
		},
		{
			Name: "SavesAtOnce",
			Why: "A pipeline commits all its partitions on one tick. A store may store them together, but a former owner of one of them must not " +
				"make the others fail, and none may get what belongs to another.",
			run: savesAtOnce,
		},
		{
			Name: "ClaimsAtOnce",
			Why:  "Members that start together claim the same partitions. Two owners with one epoch could not fence each other.",
			run:  claimsAtOnce,
		},
		{
			Name: "ClaimSeesTheLastSave",
			Why: "Claim and Save are atomic. A Save that is reported as stored and that Claim has not seen is handled again; one that is stored " +
				"behind a Claim takes the next owner back.",
			run: claimSeesTheLastSave,
		},
		{
			Name: "EndedContextEndsCalls",
			Why:  "A leave has a deadline, and a stop too. What was cut may be stored or not, and the next call finds the store in order.",
			run:  endedContextEndsCalls,
		},
		{
			Name: "CallsEndWhileItStalls",
			Why:  "A server that hangs must not keep a partition from being released, nor a process from ending.",
			run:  callsEndWhileItStalls,
		},
		{
			Name: "KilledInSave",
			Why:  "kill -9 comes in the middle of a write. What was reported as stored is there afterwards, whole.",
			run:  killedInSave,
		},
	}
}
