package spilltest

// Cases returns all cases, the simple ones first.
func Cases() []Case {
	return []Case{
		{
			Name: "AppendedIsRead",
			Why:  "The pipeline settles a message when Append returns. A record that is not read again is a lost message.",
			run:  appendedIsRead,
		},
		{
			Name: "EverythingIsKept",
			Why: "A handler must not notice that its message came from a log: nil and empty values differ in meaning, headers carry traces, " +
				"the fetch time measures how long it waited, and Epoch fences the handler's own writes.",
			run: everythingIsKept,
		},
		{
			Name: "RowsAreKeptAsBytes",
			Why:  "A row of a binlog has no Value but what its Native makes. A tombstone must stay one, or a deleted key comes back.",
			run:  rowsAreKeptAsBytes,
		},
		{
			Name: "MessagesBelongToTheCaller",
			Why:  "The pipeline reuses the structs for other messages after Append, and middleware changes those that Read returned.",
			run:  messagesBelongToTheCaller,
		},
		{
			Name: "KeysOfAnyBytes",
			Why:  "Keys come from producers: empty, binary, one the beginning of another, or longer than an index allows.",
			run:  keysOfAnyBytes,
		},
		{
			Name: "SmallerOffsetComesFirst",
			Why: "Messages that leave the lane are appended after later ones that never were in it, and a crash makes others come again. " +
				"The records of a key run in the order of their offsets.",
			run: smallerOffsetComesFirst,
		},
		{
			Name: "AppendTwiceIsOnce",
			Why:  "After a failed Append and after a crash the pipeline appends again whatever may be there. It must neither be handled twice nor counted twice.",
			run:  appendTwiceIsOnce,
		},
		{
			Name: "AppendAgainHoldsNothing",
			Why:  "An Append that is repeated after a lost reply must not hold a key again that an operator has resumed meanwhile.",
			run:  appendAgainHoldsNothing,
		},
		{
			Name: "LostReply",
			Why:  "Whether an Append or Save that was cut is stored is unknown. Doing it again must lead to the same records either way.",
			run:  lostReply,
		},
		{
			Name: "RefusedRecordIsNamed",
			Why:  "A message that can never be stored must not make each Append with other messages fail for ever: the pipeline has to know which one to leave out.",
			run:  refusedRecordIsNamed,
		},
		{
			Name: "WindowsBySize",
			Why:  "A window bounds the memory of a strand. If a message larger than the window were not returned, its key would stand for ever.",
			run:  windowsBySize,
		},
		{
			Name: "StrandsAreCounted",
			Why:  "DivertBytes is checked against these counts, and the snapshot shows them.",
			run:  strandsAreCounted,
		},
		{
			Name: "BelowTheMarkIsNothing",
			Why:  "After a crash, handled messages of a strand can come again. Appended, they would be handled behind later ones.",
			run:  belowTheMarkIsNothing,
		},
		{
			Name: "MarksGoForwardOnly",
			Why:  "Marks of a tick can be stored after newer ones of a leave or an operator. A mark that goes back repeats messages behind later ones.",
			run:  marksGoForwardOnly,
		},
		{
			Name: "EmptyStrandKeepsItsMark",
			Why:  "All records may be handled and the strand not removed when a process dies. Without the mark, messages that come again were handled twice.",
			run:  emptyStrandKeepsItsMark,
		},
		{
			Name: "RemovedIsGone",
			Why:  "A key that turned direct must not be diverted after a restart, and may be diverted again, then with no old mark.",
			run:  removedIsGone,
		},
		{
			Name: "RemoveRefusesRecordsLeft",
			Why:  "Removing a strand that has got a record meanwhile would lose it.",
			run:  removeRefusesRecordsLeft,
		},
		{
			Name: "HeldOutlivesRestart",
			Why:  "A held key waits for a person, who comes after the next deploy. Handled before, it would skip what that person was to decide.",
			run:  heldOutlivesRestart,
		},
		{
			Name: "OlderEpochIsRefused",
			Why:  "An owner that lost its partition in a pause goes on for a while. Nothing that it stores or deletes may count.",
			run:  olderEpochIsRefused,
		},
		{
			Name: "ForeignLog",
			Why: "When a topic is deleted and made again, offsets start again. Held records of the old topic must come back, and must not " +
				"be taken for new messages, nor new ones for them.",
			run: foreignLog,
		},
		{
			Name: "PartitionsAreApart",
			Why:  "The same key is in many partitions and streams, with the same offsets.",
			run:  partitionsAreApart,
		},
		{
			Name: "CallsAtOnce",
			Why:  "The appender, the pumps, the ticks and operators use a log at the same time.",
			run:  callsAtOnce,
		},
		{
			Name: "EndedContextEndsCalls",
			Why:  "A leave has a deadline. A call that ignores it delays the hand-over of the partition.",
			run:  endedContextEndsCalls,
		},
		{
			Name: "ClosedIsClosed",
			Why:  "A late call of a pipeline that has ended must not reach into the next one.",
			run:  closedIsClosed,
		},
		{
			Name: "KilledInAppend",
			Why:  "kill -9 comes in the middle of a write. The store must open again, with every record that was reported as durable.",
			run:  killedInAppend,
		},
	}
}
