// Package outlet writes the outputs of turns to a sink, in the order of their lanes.
//
// An [Outlet] has a fixed number of writers, each with one Write in flight. All outputs of a lane go through the same writer
// and become durable in the order of [Outlet.Add]. If a Write does not store an output, the writer writes it again after a
// growing pause, before later outputs of its lane; other lanes continue. An output of several lanes is written once none of
// these lanes has an earlier output. An output of all lanes is written once its owner has no earlier output.
//
// Nothing here blocks a caller, or uses a goroutine or a timer for a single output. Every output ends exactly once: durable,
// refused or dropped. [Hooks] learn how outputs end. The package knows neither trackers nor the lanes of package keyed.
package outlet
