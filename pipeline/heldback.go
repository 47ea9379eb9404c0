package pipeline

import (
	"fmt"
	"sync"

	"github.com/keystrand/keystrand"
)

// HeldError is the error of Run when a finite source has ended while keys are held. Everything else is handled. The messages
// of the held keys are in the store, for the next pipeline that reads the partition.
type HeldError struct {
	Keys    int   // held keys
	Records int64 // their messages in the store

	// One of the keys, and why it is held.
	Stream    string
	Partition int32
	Key       string // text of its lane (keystrand.Lane)
	Reason    string
}

// Error returns the numbers and one of the keys.
func (e *HeldError) Error() string {
	return fmt.Sprintf("pipeline: the source has ended with %d held keys, which have %d messages in the store; to resume, skip or drop them, start a pipeline on a source of the partition that does not end; one is %s/%d key %s: %s",
		e.Keys, e.Records, e.Stream, e.Partition, loggedKey(e.Key), e.Reason)
}

// heldBack collects the held keys of partitions that have ended.
type heldBack struct {
	mu  sync.Mutex
	all HeldError
}

func (h *heldBack) add(d *divert) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, st := range d.strands {
		h.all.Keys++
		h.all.Records += st.records
		h.all.Stream, h.all.Partition = d.pt.id.Stream, d.pt.id.Partition
		h.all.Key, h.all.Reason = keystrand.Lane(st.lane).String(), st.why
	}
}

func (h *heldBack) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all.Keys == 0 {
		return nil
	}
	e := h.all
	return &e
}
