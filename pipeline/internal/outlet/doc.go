// Package outlet writes what turns leave for a sink, in the order of their lanes.
//
// An [Outlet] has a fixed number of writers, with one Write in flight each. The outputs of a lane always go through the same
// writer and become durable in the order in which they were added. An output that a Write did not store is written again
// after a growing pause, before anything else of its lane; other lanes go on meanwhile. An output of several lanes is
// written when none of them has an earlier one left, one of all lanes when its owner has none left.
//
// Nothing here blocks a caller, holds a goroutine for an output, or starts a timer for one. Every output ends exactly once:
// durable, refused or dropped. The package knows neither trackers nor lanes of package keyed: [Hooks] are told how
// outputs end.
package outlet
